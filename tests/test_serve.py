"""serve.py from the outside: what each interface answers, and that it is what infer.py says."""

import asyncio
import base64
import json
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import infer
import serve
from conftest import NUM_CLASSES, SIDE, SMALL_MODEL, class_frames, write_random_weights, write_video
from hostile.served import settles
from serve_process import ROOT, ServeProcess, multipart
from serving.service import Answer

NAMES = ["walking", "骑车", "class <b>"]


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    sizes = [f"INFER.short_size={SIDE + 8}", f"INFER.target_size={SIDE}", f"MODEL.label_file={folder / 'names.txt'}"]
    weights = f"--weights={write_random_weights(folder)}"
    return [*SMALL_MODEL, *(part for size in sizes for part in ("-o", size)), weights, "--engine=eager"]


@pytest.fixture(scope="module")
def server(flags, tmp_path_factory):
    with ServeProcess([*flags, "--workers=2"], tmp_path_factory.mktemp("server")) as process:
        yield process


@pytest.fixture(scope="module")
def expected(flags, small_set, tmp_path_factory) -> dict[Path, list[dict]]:
    """{video: its classes with their scores, best first}, by infer.py, each in a batch of its own."""
    listed = [f"--filelist={small_set / 'infer.list'}", "--batch_size=1", "-o", "INFER.num_reader_threads=0"]
    found = infer.main([*flags, *listed, f"--save_dir={tmp_path_factory.mktemp('infer')}"])
    return {small_set / one.path: categories(*one.plain()[1:]) for one in found}


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "paddle"])
def test_every_engine_answers_as_it_does_for_infer_to_the_bit(flags, small_set, tmp_path, engine):
    flags = [*flags, f"--engine={engine}"]
    listed = [f"--filelist={small_set / 'infer.list'}", "--batch_size=1", "-o", "INFER.num_reader_threads=0"]
    predictions = infer.main([*flags, *listed, f"--save_dir={tmp_path}"])
    args = serve.build_parser().parse_args([*flags, "--workers=1", f"--temp_dir={tmp_path}"])
    house = serve.open_house(args, serve.settings_of(args, None))

    async def answers() -> list[Answer]:
        await house.service.decoders.start()
        try:
            return [await house.service.classify(small_set / one.path, 3, True) for one in predictions]
        finally:
            await house.service.decoders.stop()

    try:
        for answer, one in zip(asyncio.run(answers()), predictions, strict=True):
            assert house.categories(answer.prediction) == categories(*one.plain()[1:])
            assert len(answer.pictures.frames) == 3 and answer.pictures.heat_maps is None
    finally:
        house.service.batcher.close()
        house.uploads.close()


def categories(scores: list[float], class_ids: list[int]) -> list[dict]:
    return [{"id": one, "name": NAMES[one], "score": score} for score, one in zip(scores, class_ids, strict=True)]


def test_every_way_to_send_a_video_gives_the_answer_of_infer_to_the_bit(server, expected):
    assert len({json.dumps(one) for one in expected.values()}) > 3, "the videos differ"
    for video, best in expected.items():
        content = video.read_bytes()
        chunks = (content[start : start + 1000] for start in range(0, len(content), 1000))
        encoded = json.dumps({"video": base64.b64encode(content).decode(), "topk": NUM_CLASSES}).encode()
        for reply in (
            server.ask("/classify?topk=3", content, {"Content-Type": "video/mp4"}),
            server.ask("/classify?topk=3", content),
            server.ask("/classify?topk=3", chunks, {"Content-Type": "application/octet-stream"}),
            server.ask("/classify?topk=3", *multipart(content)),
        ):
            assert reply.status == 200 and reply.json["categories"] == best
        reply = server.ask("/video-classification", encoded, {"Content-Type": "application/json"})
        assert reply.status == 200 and reply.json["result"]["categories"] == best
    assert not server.files()


def test_a_timeline_is_that_of_infer_to_the_bit(server, flags, tmp_path):
    video = write_video(tmp_path / "long.mp4", class_frames(1, np.random.default_rng(5), 90), crf=20)
    save_dir = tmp_path / "infer"
    timelines = infer.main(
        [*flags, "--video", str(video), "--window_sec=1", "--stride_sec=0.5", f"--save_dir={save_dir}"]
    )
    (rows,) = timelines.values()
    reply = server.ask("/classify?topk=3&window_sec=1&stride_sec=0.5", video.read_bytes())
    assert reply.headers["content-type"] == "application/x-ndjson"
    *windows, end = reply.lines
    assert end == {"id": reply.headers["x-request-id"], "model": "TSN", "is_complete": True, "num_windows": len(rows)}
    assert len(rows) > 5
    for window, row in zip(windows, rows, strict=True):
        assert window["categories"] == categories(row["probabilities"], row["class_ids"])
        assert [window["start_sec"], window["end_sec"]] == [row["start_sec"], row["end_sec"]]


def test_many_at_once_get_their_own_answers(server, expected):
    videos = list(expected) * 10

    def ask(video: Path) -> list[dict]:
        return server.ask("/classify?topk=3", video.read_bytes()).json["categories"]

    with ThreadPoolExecutor(16) as pool:
        for video, found in zip(videos, pool.map(ask, videos), strict=True):
            assert [one["id"] for one in found] == [one["id"] for one in expected[video]]
            scores = [[one["score"] for one in answer] for answer in (found, expected[video])]
            np.testing.assert_allclose(*scores, rtol=0, atol=1e-6)
    assert server.metric('tsn_requests_total{code="200",interface="plain"}') >= len(videos)
    assert server.metric("tsn_queue") == server.metric("tsn_sending") == 0


def test_paddlex_clients_find_every_field(server, expected):
    video, best = next(iter(expected.items()))
    content = base64.b64encode(video.read_bytes()).decode()
    answer = server.ask("/video-classification", json.dumps({"video": content, "topk": 2}).encode()).json
    assert list(answer) == ["logId", "errorCode", "errorMsg", "result"]
    assert type(answer["logId"]) is str and answer["errorCode"] == 0 and answer["errorMsg"] == "Success"
    assert list(answer["result"]) == ["categories"] and len(answer["result"]["categories"]) == 2
    assert [list(one) for one in answer["result"]["categories"]] == [["id", "name", "score"]] * 2
    assert [list(map(type, one.values())) for one in answer["result"]["categories"]] == [[int, str, float]] * 2
    without = server.ask("/video-classification", json.dumps({"video": content}).encode()).json
    assert without["result"]["categories"] == best
    health = server.ask("/health")
    assert health.status == 200 and list(health.json) == ["logId", "errorCode", "errorMsg"]
    assert health.json["errorCode"] == 0 and health.json["errorMsg"] == "Healthy"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "no JSON"),
        (b"[]", "the body has to be"),
        (b"{}", "the body has to be"),
        (b'{"video": 3}', "the body has to be"),
        (b'{"video": "AAAA", "topk": 0}', "topk"),
        (b'{"video": "AAAA", "topk": true}', "topk"),
        (b'{"video": "AAAA", "topk": "5"}', "topk"),
        (b'{"video": "!!!!"}', "base64"),
        (b'{"video": "http://127.0.0.1:9/x.mp4"}', "address"),
        (b'{"video": "AAAA"}', "cannot be read"),
    ],
)
def test_paddlex_clients_find_their_errors(server, body, reason):
    reply = server.ask("/video-classification", body, {"Content-Type": "application/json"})
    assert reply.status == 422 and list(reply.json) == ["logId", "errorCode", "errorMsg"]
    assert reply.json["errorCode"] == 422 and reason in reply.json["errorMsg"]
    assert reply.json["logId"] == reply.headers["x-request-id"]


def test_errors_have_a_status_a_reason_and_an_id(server, expected):
    content = next(iter(expected)).read_bytes()
    for status, reason, path, body, headers in (
        (422, "damaged or no video", "/classify", b"no video at all", {}),
        (422, "no video in it", "/classify", b"", {}),
        (422, "no video in it", "/classify", *multipart(b"")),
        (415, "content type text/plain", "/classify", content, {"Content-Type": "text/plain"}),
        (415, "compressed", "/classify", content, {"Content-Encoding": "gzip"}),
        (400, "no boundary", "/classify", content, {"Content-Type": "multipart/form-data"}),
        (400, "multipart", "/classify", content, {"Content-Type": "multipart/form-data; boundary=x"}),
        (422, "topk", "/classify?topk=0", content, {}),
        (422, "window_sec", "/classify?window_sec=0.1", content, {}),
        (422, "needs window_sec", "/classify?stride_sec=1", content, {}),
        (422, "overlap", "/classify?window_sec=100&stride_sec=0.5", content, {}),
        (404, "Not Found", "/nothing", content, {}),
        (405, "Method Not Allowed", "/health", content, {}),
    ):
        reply = server.ask(path, body, headers | {"X-Request-Id": "my-id.7"})
        assert reply.status == status, (path, headers, reply)
        if path == "/health":
            continue
        assert list(reply.json) == ["id", "error"] and reason in reply.json["error"], (path, reply)
        assert reply.json["id"] == reply.headers["x-request-id"] == "my-id.7"
    forged = server.ask("/health", headers={"X-Request-Id": "no\tid"})
    assert forged.headers["x-request-id"] != "no\tid" and not server.files()


def test_each_request_leaves_one_line(server, expected):
    content = next(iter(expected)).read_bytes()
    server.ask("/classify", content, {"X-Request-Id": "line-1"})
    server.ask("/classify?topk=1", b"text", {"X-Request-Id": "line-2"})
    assert settles(lambda: "line-2" in [one["id"] for one in server.requests()])  # it follows the answer
    (done,), (refused,) = ([one for one in server.requests() if one["id"] == f"line-{number}"] for number in (1, 2))
    assert done["status"] == 200 and done["num_bytes"] == len(content) and done["path"] == "/classify"
    assert min(done["upload_sec"], done["read_sec"], done["model_sec"]) > 0 and "reason" not in done
    assert refused["status"] == 422 and "damaged" in refused["reason"] and "model_sec" not in refused


def test_the_open_inference_protocol_is_spoken(server, expected):
    assert server.ask("/v2/health/live").status == server.ask("/v2/health/ready").status == 200
    assert server.ask("/v2").json["extensions"] == ["binary_tensor_data"]
    metadata = server.ask("/v2/models/TSN").json
    assert metadata["name"] == "TSN" and metadata["versions"] == ["1"]
    assert metadata["inputs"] == [{"name": "frames", "datatype": "UINT8", "shape": [-1, -1, 3, SIDE, SIDE]}]
    assert metadata["outputs"][0] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, NUM_CLASSES]}
    assert server.ask("/v2/models/TSN/versions/1/ready").status == 200
    assert server.ask("/v2/models/other").status == 404
    frames = np.random.default_rng(1).integers(0, 256, (2, 3, 3, SIDE, SIDE)).astype(np.uint8)
    tensor = {"name": "frames", "shape": list(frames.shape), "datatype": "UINT8"}
    request = {"id": "7", "inputs": [tensor | {"data": frames.ravel().tolist()}]}
    answer = server.ask("/v2/models/TSN/infer", json.dumps(request).encode()).json
    assert answer["model_name"] == "TSN" and answer["id"] == "7"
    by_name = {output["name"]: output for output in answer["outputs"]}
    assert by_name["probabilities"]["shape"] == [2, NUM_CLASSES] and by_name["features"]["shape"] == [2, 512]
    probabilities = np.array(by_name["probabilities"]["data"]).reshape(2, -1)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    nested = {"inputs": [tensor | {"data": frames.tolist()}], "outputs": [{"name": "probabilities"}]}
    answer = server.ask("/v2/models/TSN/infer", json.dumps(nested).encode()).json
    assert "id" not in answer and answer["outputs"] == [by_name["probabilities"]]
    text = json.dumps({
        "inputs": [tensor | {"parameters": {"binary_data_size": frames.size}}],
        "parameters": {"binary_data_output": True},
    }).encode()  # fmt: skip
    reply = server.ask(
        "/v2/models/TSN/infer", text + frames.tobytes(), {"Inference-Header-Content-Length": str(len(text))}
    )
    length = int(reply.headers["inference-header-content-length"])
    outputs = json.loads(reply.body[:length])["outputs"]
    assert [output["parameters"]["binary_data_size"] for output in outputs] == [8 * NUM_CLASSES, 8 * 512]
    found = np.frombuffer(reply.body, "<f4", 2 * NUM_CLASSES, length).reshape(2, -1)
    np.testing.assert_array_equal(found, probabilities.astype(np.float32))


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"shape": [1, 3, 3, SIDE, SIDE + 1]}, 400),
        ({"shape": [-1, 3, 3, SIDE, SIDE]}, 400),
        ({"shape": [1 << 40, 1, 3, SIDE, SIDE]}, 413),
        ({"shape": [2, 257, 3, SIDE, SIDE]}, 413),
        ({"shape": [1, 2, 3, SIDE, SIDE]}, 400),
        ({"datatype": "FP32"}, 400),
        ({"name": "video"}, 400),
        ({"data": [256] * 3 * SIDE * SIDE}, 400),
        ({"data": [0.5] * 3 * SIDE * SIDE}, 400),
        ({"data": [[1], [1, 2]]}, 400),
        ({"data": "AAAA"}, 400),
    ],
)
def test_other_tensors_are_refused(server, change, status):
    tensor = {"name": "frames", "shape": [1, 1, 3, SIDE, SIDE], "datatype": "UINT8", "data": [0] * 3 * SIDE * SIDE}
    reply = server.ask("/v2/models/TSN/infer", json.dumps({"inputs": [tensor | change]}).encode())
    assert reply.status == status and list(reply.json) == ["error"], reply


def test_pages_load_nothing_from_elsewhere(server):
    page = server.ask("/")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy
    assert not re.search(rb'(src|href)="(?!data:)', page.body)
    described = server.ask("/openapi.json").json["paths"]
    assert {"/classify", "/video-classification", "/health", "/v2/models/TSN/infer", "/metrics"} <= described.keys()
    for address in re.findall(rb'(?:src|href)="([^"]+)"', server.ask("/docs").body):
        assert server.ask(address.decode()).status == 200, address
    about = server.ask("/about").json
    assert about["class_names"] == NAMES and about["has_heat_maps"] and about["num_segments"] == 3


def test_pictures_are_what_the_model_saw(server, expected):
    reply = server.ask("/classify?pictures=true", next(iter(expected)).read_bytes()).json
    for urls in reply["pictures"].values():
        assert len(urls) == 3
        for url in urls:
            kind, _, data = url.partition(",")
            assert kind == "data:image/jpeg;base64" and base64.b64decode(data).startswith(b"\xff\xd8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "MODEL.format=pkl"], "serve.py takes videos, but MODEL.format is pkl"),
        (["-o", "MODEL.decoder=opencv"], "MODEL.decoder is opencv, which keeps no limits"),
        (["--host=no.such.host.invalid"], "cannot listen there"),
        (["--temp_dir=/proc/nowhere"], "choose another --temp_dir"),
        (["--weights=nowhere"], "nowhere"),
        (["--allow_urls", "10.0.0.1"], "'10.0.0.1' is no host to allow"),
        (["--cam", "--engine=openvino"], "heat maps need the model's layers"),
    ],
)
def test_mistakes_are_told(flags, arguments, message):
    with pytest.raises((ValueError, OSError), match=re.escape(message)):
        serve.main(["--port=0", *flags, *arguments])
    assert "engine" not in [thread.name for thread in threading.enumerate()], "no thread keeps the process"


def test_a_port_that_is_taken_is_said_at_once(server, flags):
    command = [sys.executable, "serve.py", f"--port={server.port}", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "Address already in use); choose another --port" in done.stderr
    assert "weights" not in done.stdout


def test_what_is_not_installed_is_said_in_one_line():
    code = "import sys; sys.modules['uvicorn'] = None; import runpy; runpy.run_path('serve.py', run_name='__main__')"
    code = code.replace("sys.modules['uvicorn'] = None", "import importlib.util as u; f = u.find_spec; "
                        "u.find_spec = lambda name, *a: None if name == 'uvicorn' else f(name, *a)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: serve.py needs uvicorn: pip install -r requirements-serve.txt\n"
