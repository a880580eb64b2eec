"""Text of bytes, by a charset that a server named or by a guess: linear work, whatever the server chose.

Python's `codecs` know more than charsets: ``punycode`` takes quadratic time, ``idna`` did so until Python 3.11.1, and
the registry of codecs keeps every name that it was ever asked for. So it is only asked for the codecs below.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from encodings import normalize_encoding
from encodings.aliases import aliases
from functools import cache

import requests
from requests.exceptions import ContentDecodingError

from . import compat

# fmt: off
_SINGLE_BYTE = frozenset({
    "cp037", "cp273", "cp424", "cp437", "cp500", "cp720", "cp737", "cp775", "cp850", "cp852", "cp855", "cp856",
    "cp857", "cp858", "cp860", "cp861", "cp862", "cp863", "cp864", "cp865", "cp866", "cp869", "cp874", "cp875",
    "cp1006", "cp1026", "cp1125", "cp1140", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256",
    "cp1257", "cp1258", "hp_roman8", "iso8859_1", "iso8859_2", "iso8859_3", "iso8859_4", "iso8859_5", "iso8859_6",
    "iso8859_7", "iso8859_8", "iso8859_9", "iso8859_10", "iso8859_11", "iso8859_13", "iso8859_14", "iso8859_15",
    "iso8859_16", "koi8_r", "koi8_t", "koi8_u", "kz1048", "mac_arabic", "mac_croatian", "mac_cyrillic", "mac_farsi",
    "mac_greek", "mac_iceland", "mac_latin2", "mac_roman", "mac_romanian", "mac_turkish", "palmos", "ptcp154",
    "tis_620",
})
_OTHERS = frozenset({
    "ascii", "latin_1", "utf_8", "utf_8_sig", "utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_32_be",
    "utf_32_le", "big5", "big5hkscs", "cp932", "cp949", "cp950", "euc_jis_2004", "euc_jisx0213", "euc_jp", "euc_kr",
    "gb18030", "gb2312", "gbk", "hz", "iso2022_jp", "iso2022_jp_1", "iso2022_jp_2", "iso2022_jp_2004",
    "iso2022_jp_3", "iso2022_jp_ext", "iso2022_kr", "johab", "shift_jis", "shift_jis_2004", "shift_jisx0213",
})
# fmt: on
"""Measured: 270 ns a byte at worst, in UTF-16 of lone surrogates. Without UTF-7, which no browser reads either."""
_LONGEST_NAME = 40
"""Characters; Python's longest alias has 30."""
_SAMPLE = 16 * 1024
"""Bytes that a charset is guessed by. (40 µs a byte, with chardet.)"""


def codec_of(charset: str) -> str | None:
    """Return Python's name of the codec; None: no charset, or not one of text."""
    if len(charset) > _LONGEST_NAME:
        return None
    name = normalize_encoding(charset).lower()
    name = aliases.get(name) or aliases.get(name.replace(".", "_")) or name
    return name if name in _SINGLE_BYTE or name in _OTHERS else None


def decode(content: bytes, charset: str) -> str:
    """Decode as requests does: what cannot be decoded becomes U+FFFD, and an unknown charset is taken for UTF-8."""
    codec = _loaded(codec_of(charset) or "utf_8")
    if codec in _SINGLE_BYTE:
        return codecs.charmap_decode(content, "strict", _table(codec))[0]
    return content.decode(codec, "replace")


def decode_chunks(chunks: Iterator[bytes], charset: str) -> Iterator[str]:
    """Decode piece by piece; as UTF-8 from where the bytes turn out to be nothing that the codec knows."""
    codec = _loaded(codec_of(charset) or "utf_8")
    if codec in _SINGLE_BYTE:
        for chunk in chunks:
            yield decode(chunk, codec)
        return
    decoder = codecs.getincrementaldecoder(codec)("replace")
    for chunk in chunks:
        try:
            text = decoder.decode(chunk)
        except ValueError:  # UTF-16 without a byte order mark
            decoder = codecs.getincrementaldecoder("utf_8")("replace")
            text = decoder.decode(chunk)
        if text:
            yield text
    if text := decoder.decode(b"", final=True):
        yield text


def guess(content: bytes) -> str | None:
    """Guess the charset as requests does, of long bodies by a sample: guessing takes up to 40 seconds for a MB."""
    if len(content) <= _SAMPLE:
        return _guess(content)
    start = 0
    if b"\0" not in content[:_SAMPLE]:  # UTF-16 and UTF-32 have some, and may pass for UTF-8
        try:
            content.decode("utf_8")
        except UnicodeDecodeError as exc:
            start = exc.start // 4 * 4  # nothing before it tells one charset from another
        else:
            return "utf_8_sig" if content.startswith(codecs.BOM_UTF8) else "utf_8"
    sample = content[start : start + _SAMPLE]
    end = max(sample.rfind(b"\n"), sample.rfind(b" "))  # neither is a part of a character, which a cut would break
    return _guess(sample[:end] if end > _SAMPLE // 2 else sample)


def _guess(sample: bytes) -> str | None:
    plain = requests.Response()
    compat.set_content(plain, sample)
    try:
        return plain.apparent_encoding
    except OSError as exc:  # as below
        raise ContentDecodingError("The charset cannot be guessed", exc) from exc


def _loaded(codec: str) -> str:
    try:
        codecs.lookup(codec)
    except OSError as exc:  # Python imports codecs when they are used, and then no file descriptor was left
        raise ContentDecodingError(f"The codec {codec} cannot be loaded", exc) from exc
    return codec


@cache
def _table(codec: str) -> str:
    """Return the characters of a codec in which every byte is one.

    Decoded by such a table, with U+FFFD for bytes that have none, a broken text takes as long as a whole one: the
    error handlers of the codec itself would take 500 ns for a byte.
    """
    return bytes(range(256)).decode(codec, "replace")
