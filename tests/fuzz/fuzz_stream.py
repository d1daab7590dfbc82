"""Fuzz the readers of event streams with atheris: ``python tests/fuzz/fuzz_stream.py [CORPUS] [-max_total_time=60]``.

Not part of the test suite, which asserts the same property over generated streams (tests/models/test_transport_fuzz.py).
"""

import sys
from pathlib import Path


def main():
    try:
        import atheris
    except ModuleNotFoundError:
        sys.exit("this needs atheris, which needs clang: pip install atheris")
    sys.path.insert(0, str(Path(__file__).parent))
    with atheris.instrument_imports(include=["interwhen"]):
        from stream_property import holds_for

    def one_input(data):
        provider = atheris.FuzzedDataProvider(data)
        offsets = [provider.ConsumeIntInRange(0, 1 << 16) for _ in range(provider.ConsumeIntInRange(0, 4))]
        holds_for(provider.ConsumeBytes(len(data)), offsets)

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
