"""What is known of a packet without decoding it, whatever its codec."""

import av

from datareader.bitstream import NEW_SETUP, Av1, Bitstream, Content, Mpeg4, Other, Vp9
from datareader.nal_units import DAMAGED, H264, Hevc

BITSTREAMS = {"h264": H264, "hevc": Hevc, "mpeg4": Mpeg4, "av1": Av1}
UNCLEAR = "a header of it cannot be read"


def bitstream_of(codec_name: str, extradata: bytes) -> Bitstream:
    """What looks at the packets of a stream.

    Args:
        codec_name: FFmpeg's name.
        extradata: the file's header for the decoder.
    """
    return BITSTREAMS[codec_name](extradata) if codec_name in BITSTREAMS else Vp9() if codec_name == "vp9" else Other()


def look(bitstream: Bitstream, packet: av.Packet) -> Content:
    if packet.is_corrupt:
        return Content(DAMAGED)
    for data in packet.iter_sidedata():  # which most packets have none of
        if data.data_type == "new_extradata":
            return Content(NEW_SETUP)
    try:
        return bitstream.look(memoryview(packet), packet.pts)
    except (IndexError, KeyError, ValueError):  # it is cut off, or refers to what is not there
        return Content(UNCLEAR)
