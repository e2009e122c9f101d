class Fetcher:
    def __init__(self, hosts, max_bytes, timeout_sec):
        pass
