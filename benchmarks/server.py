"""Requests of one image each, run one by one or merged; what TF Serving does, in small.

Not the TF Serving binary: no network, no gRPC, no encoding of requests. What is the same is the
work: one run of the SavedModel's session for each request, by a limited number of threads; or one
for each merged batch, by one thread (as in serving/batching.config), with the batching parameters
of the export.
"""

import dataclasses
import queue
import re
import threading
import time
from concurrent import futures


@dataclasses.dataclass(frozen=True)
class BatchingParameters:
    """What a server must know to merge requests.

    Attributes:
        max_batch_size: most rows in a batch.
        timeout: seconds that a batch waits for company, from its first row on.
        allowed_sizes: rising; a batch is filled up to the first that holds it.
    """

    max_batch_size: int
    timeout: float
    allowed_sizes: tuple

    @classmethod
    def parse(cls, text: str) -> "BatchingParameters":
        """The parameters in the text of a `batching_params.pbtxt`."""
        values = dict(re.findall(r"^(\w+) *\{ *value: *(\d+) *\}", text, re.MULTILINE))
        sizes = re.findall(r"^allowed_batch_sizes: *(\d+)", text, re.MULTILINE)
        most = int(values["max_batch_size"])
        timeout = int(values["batch_timeout_micros"]) / 1e6
        return cls(most, timeout, tuple(map(int, sizes)) or tuple(range(1, most + 1)))

    def filled(self, rows: list) -> list:
        """The rows, and the first one again until the size is allowed."""
        size = next(size for size in self.allowed_sizes if size >= len(rows))
        return rows + [rows[0]] * (size - len(rows))


class SingleServer:
    """Runs each request by itself.

    Args:
        run: list of rows -> list of answers.
        num_threads: requests that run at once.
    """

    def __init__(self, run, num_threads):
        self.run = run
        self.threads = futures.ThreadPoolExecutor(num_threads)

    def ask(self, row: object) -> futures.Future:
        """A Future of the row's answer."""
        return self.threads.submit(lambda: self.run([row])[0])

    def close(self) -> None:
        self.threads.shutdown()


class MergingServer:
    """Runs waiting requests together, one batch at a time.

    Args:
        run: list of rows -> list of answers.
        parameters: `BatchingParameters`.
    """

    def __init__(self, run, parameters):
        self.run = run
        self.parameters = parameters
        self.waiting = queue.Queue()
        self.sizes = []  # rows asked for in each batch so far
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def ask(self, row: object) -> futures.Future:
        """A Future of the row's answer."""
        future = futures.Future()
        self.waiting.put((row, future))
        return future

    def close(self) -> None:
        self.waiting.put(None)
        self.thread.join()

    def _serve(self):
        is_open = True
        while is_open and (first := self.waiting.get()) is not None:
            batch, is_open = self._fill([first])
            rows = [row for row, _ in batch]
            self.sizes.append(len(rows))
            try:
                answers = self.run(self.parameters.filled(rows))
            except Exception as error:  # reaches every client that asked
                for _, future in batch:
                    future.set_exception(error)
                continue
            for (_, future), answer in zip(batch, answers, strict=False):
                future.set_result(answer)

    def _fill(self, batch):
        """The batch with those that come in time; False after it when the server was closed."""
        end = time.perf_counter() + self.parameters.timeout
        while len(batch) < self.parameters.max_batch_size:
            try:
                request = self.waiting.get(timeout=max(0.0, end - time.perf_counter()))
            except queue.Empty:
                break
            if request is None:
                return batch, False
            batch.append(request)
        return batch, True


def load(server: SingleServer | MergingServer, num_clients: int, seconds: float) -> dict:
    """Clients that ask for one row, wait for the answer, and ask again, until the time is over.

    Each asks once at least, and waits for what it asked last.

    Returns:
        {"clients", "images", "seconds" until the last answer, "latencies" of the requests}.
    """
    rows = iter(range(2**62))  # next() of it is atomic
    start = time.perf_counter()

    def client(_):
        latencies, now = [], start
        while not latencies or now - start < seconds:
            asked = time.perf_counter()
            server.ask(next(rows)).result()
            now = time.perf_counter()
            latencies.append(now - asked)
        return latencies, now

    with futures.ThreadPoolExecutor(num_clients) as clients:
        results = list(clients.map(client, range(num_clients)))
    latencies = [latency for each, _ in results for latency in each]
    return {
        "clients": num_clients,
        "images": len(latencies),
        "seconds": max(end for _, end in results) - start,
        "latencies": latencies,
    }
