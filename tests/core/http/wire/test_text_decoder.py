"""Text of bytes: it equals that of requests, and no codec takes more than linear time."""

from __future__ import annotations

import codecs
import encodings.punycode
import pkgutil
import random
from collections.abc import Iterator

import pytest
import requests

from core.http.wire import text_decoder
from tests.core.http.wire.made_response import response

CODECS = sorted(text_decoder._SINGLE_BYTE | text_decoder._OTHERS)
BODIES = [bytes(range(256)), b"caf\xe9 \xff\xfe\x00\xd8", b"\xff" * 99, random.Random(1).randbytes(5_000), b""]


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the names for which Python looks up a codec."""
    names: list[str] = []

    def search(name: str) -> None:
        names.append(name)

    codecs.register(search)
    yield names
    codecs.unregister(search)


@pytest.mark.parametrize("codec", CODECS)
def test_text_equals_that_of_requests(codec: str) -> None:
    """For every codec of the list, the text equals that of requests, also for bytes that the codec does not know."""
    assert [text_decoder.decode(body, codec) for body in BODIES] == [body.decode(codec, "replace") for body in BODIES]


def test_single_byte_codecs_have_one_character_for_each_byte() -> None:
    """A text in a single-byte codec can be decoded by a table, without an error handler for each unknown byte."""
    for codec in text_decoder._SINGLE_BYTE:
        table = text_decoder._table(codec)
        assert len(table) == 256, codec
        assert "\ufffe" not in table, codec  # charmap_decode treats this character as a gap


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("UTF-8", "utf_8"),
        ("utf8", "utf_8"),
        (" utf - 8 ", "utf_8"),
        ("utf-----8", "utf_8"),
        ("Latin1", "latin_1"),
        ("iso-8859-1", "latin_1"),
        ("ISO_8859-15", "iso8859_15"),
        ("windows-1252", "cp1252"),
        ("x-user-defined", None),
        ("Shift_JIS", "shift_jis"),
        ("ks_c_5601-1987", "euc_kr"),
        ("utf-16le", "utf_16_le"),
        ("us-ascii", "ascii"),
        *[
            (name, None)
            for name in (
                "punycode",
                "PUNYCODE",
                "puny code",
                "idna",
                "unicode_escape",
                "raw-unicode-escape",
                "undefined",
                "hex",
                "base64",
                "bz2",
                "zip",
                "rot13",
                "uu",
                "quopri",
                "utf-7",
                "u7",
                "unicode-1-1-utf-7",
                "charmap",
                "mbcs",
                "oem",
                "aliases",
                "none-such",
                "",
                "utf-8" + " " * 50,
                "\0",
            )
        ],
    ],
)
def test_a_charset_is_one_of_the_list_or_unknown(charset: str, codec: str | None) -> None:
    """Python's aliases and odd spellings are accepted; codecs that are no text encodings, or not linear, are not."""
    assert text_decoder.codec_of(charset) == codec


def test_every_codec_of_python_is_decided() -> None:
    """Each codec of Python is either in the list or refused, so a new one has to be measured first."""
    refused = {
        "base64_codec", "bz2_codec", "charmap", "hex_codec", "idna", "mbcs", "oem", "punycode", "quopri_codec",
        "raw_unicode_escape", "rot_13", "undefined", "unicode_escape", "utf_7", "uu_codec", "zlib_codec",
    }  # fmt: skip
    python = {module.name for module in pkgutil.iter_modules(encodings.__path__)}
    python -= {"aliases", "_win_cp_codecs"}
    assert python - refused <= set(CODECS)
    assert not refused & set(CODECS)


@pytest.mark.parametrize("charset", ["punycode", "none-such-1", "utf-8" + "-" * 20 + "x", "idna", "unicode_escape"])
def test_no_codec_outside_of_the_list_is_looked_up(charset: str, looked_up: list[str]) -> None:
    """Other codecs are not looked up, because Python caches every name, so a server could fill the memory."""
    answer = response(b'"caf\xc3\xa9"', f"application/json; charset={charset}")
    known = len(encodings._cache)  # type: ignore[attr-defined]
    assert answer.text == '"café"'
    assert answer.json() == "café"
    assert "".join(answer.iter_content(2, decode_unicode=True)) == '"café"'
    assert list(answer.iter_lines(decode_unicode=True)) == ['"café"']
    assert looked_up == []
    assert len(encodings._cache) <= known + 1  # type: ignore[attr-defined]  # UTF-8 itself


def test_a_megabyte_of_punycode_is_decoded_by_no_punycode(monkeypatch: pytest.MonkeyPatch) -> None:
    """The codec punycode is not used, because it is quadratic: 1 MiB took 19 s (python/cpython#99083, #151812)."""
    monkeypatch.setattr(encodings.punycode, "punycode_decode", lambda *_: pytest.fail("called"))
    answer = response(b"9" * 2**20, "application/json; charset=punycode")
    assert len(answer.text) == 2**20
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()


def test_the_encoding_that_the_caller_sets_is_used() -> None:
    """`response.encoding = …` works as in requests, with any codec."""
    answer = response(b"+AGE-", "text/plain; charset=none-such")
    answer.encoding = "utf-7"
    assert answer.text == "a"
    assert "".join(answer.iter_content(2, decode_unicode=True)) == "a"


@pytest.mark.parametrize("charset", ["utf-8", "cp1252", "utf-16", "utf-16-le", "shift_jis", "gb18030", "hz"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 512])
def test_text_in_pieces_is_the_same_text(charset: str, size: int) -> None:
    """Text that is decoded in chunks is the same, for any chunks."""
    text = "text テキスト" if charset != "cp1252" else "text é ÿ"
    answer = response(text.encode(charset), f"text/plain; charset={charset}")
    assert "".join(answer.iter_content(size, decode_unicode=True)) == text == answer.text


class Detector:
    """A replacement for chardet or charset_normalizer that records the size of its samples."""

    def __init__(self, encoding: str | None) -> None:
        self.encoding = encoding
        self.sizes: list[int] = []
        self.samples: list[bytes] = []

    def detect(self, sample: bytes) -> dict[str, str | None]:
        self.sizes.append(len(sample))
        self.samples.append(sample)
        return {"encoding": self.encoding}


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> Detector:
    detector = Detector("cp1251")
    monkeypatch.setattr(requests.models, "chardet", detector)
    return detector


@pytest.mark.parametrize("length", [2**15, 2**16, 2**20])
def test_a_long_body_is_guessed_by_a_sample(length: int, detector: Detector) -> None:
    """The charset of a long body is guessed from a sample; megabytes took over 40 s (psf/requests#2359, #4235)."""
    answer = response(b"a" * length + b"\xef ", "application/javascript")
    assert answer.encoding is None
    assert answer.text.endswith("aп ")
    assert answer.apparent_encoding == "cp1251"
    assert max(detector.sizes) <= text_decoder._SAMPLE


def test_the_sample_begins_where_the_text_is_no_longer_utf_8(detector: Detector) -> None:
    """The sample ends between two words, because half a character would be evidence against its charset."""
    answer = response(b"<html>" * 10_000 + "слово ".encode("cp1251") * 10_000, None)
    assert answer.apparent_encoding == "cp1251"
    assert detector.samples[0].lstrip(b"<html>").startswith("слово ".encode("cp1251")[:3])
    assert detector.samples[0].endswith("слово".encode("cp1251"))


@pytest.mark.parametrize(("bom", "encoding"), [(b"", "utf_8"), (codecs.BOM_UTF8, "utf_8_sig")])
def test_a_long_body_in_utf_8_is_not_guessed_at(bom: bytes, encoding: str, detector: Detector) -> None:
    """A body in valid UTF-8 is not guessed; charset_normalizer takes some of it for Korean."""
    answer = response(bom + "hé ".encode() * 10_000, None)
    assert answer.apparent_encoding == encoding
    assert answer.text == "hé " * 10_000
    assert detector.sizes == []


def test_a_short_body_is_guessed_as_requests_does(detector: Detector) -> None:
    """The charset of a short body is guessed from all of it, as in requests."""
    body = "слово ".encode("cp1251")
    assert response(body, None).text == "слово "
    assert detector.samples == [body]


def test_utf_16_without_a_mark_is_guessed_at(detector: Detector) -> None:
    """UTF-16 without a byte order mark is guessed, because it can be valid UTF-8 with NULs."""
    detector.encoding = "utf_16_le"
    assert response(("word " * 9_000).encode("utf-16-le"), None).text == "word " * 9_000
