"""Videos that come over HTTP -> answers: uploads, a bounded queue, decoders, micro-batches, interfaces, a page."""
