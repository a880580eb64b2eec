"""Decodes bytes to text with the charset that the server names, or a guessed one, always in linear time.

Python's `codecs` contain more than charsets: ``punycode`` takes quadratic time, so did ``idna`` until Python 3.11.1,
and the codec registry caches every name that was ever looked up. So only the codecs listed below are used.
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
"""The slowest of these codecs takes 270 ns per byte, for UTF-16 with lone surrogates. UTF-7 is excluded, as in
browsers."""
_LONGEST_NAME = 40
"""Maximum number of characters of a charset name; Python's longest alias has 30."""
_SAMPLE = 16 * 1024
"""Number of bytes from which a charset is guessed. (chardet takes 40 µs per byte.)"""


def codec_of(charset: str) -> str | None:
    """Return Python's name of the codec for `charset`; None if it is not in the lists above."""
    if len(charset) > _LONGEST_NAME:
        return None
    name = normalize_encoding(charset).lower()
    name = aliases.get(name) or aliases.get(name.replace(".", "_")) or name
    return name if name in _SINGLE_BYTE or name in _OTHERS else None


def decode(content: bytes, charset: str) -> str:
    """Decode as requests does: invalid bytes become U+FFFD, and an unknown charset is treated as UTF-8."""
    codec = _loaded(codec_of(charset) or "utf_8")
    if codec in _SINGLE_BYTE:
        return codecs.charmap_decode(content, "strict", _table(codec))[0]
    return content.decode(codec, "replace")


def decode_chunks(chunks: Iterator[bytes], charset: str) -> Iterator[str]:
    """Decode chunk by chunk; switch to UTF-8 at the first chunk that the codec rejects."""
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
    """Guess the charset as requests does, but of long bodies only from a sample: guessing takes up to 40 s per MB."""
    if len(content) <= _SAMPLE:
        return _guess(content)
    start = 0
    if b"\0" not in content[:_SAMPLE]:  # UTF-16 and UTF-32 contain NULs, and may be valid UTF-8
        try:
            content.decode("utf_8")
        except UnicodeDecodeError as exc:
            start = exc.start // 4 * 4  # the bytes before are valid UTF-8 and don't help to distinguish charsets
        else:
            return "utf_8_sig" if content.startswith(codecs.BOM_UTF8) else "utf_8"
    sample = content[start : start + _SAMPLE]
    end = max(sample.rfind(b"\n"), sample.rfind(b" "))  # cut there, so that no multi-byte character is split
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
    except OSError as exc:  # Python imports a codec at its first use, which fails without a free file descriptor
        raise ContentDecodingError(f"The codec {codec} cannot be loaded", exc) from exc
    return codec


@cache
def _table(codec: str) -> str:
    """Return the 256 characters of a single-byte codec, with U+FFFD for bytes that it does not define.

    With this table, invalid text takes as long as valid text; the error handlers of codecs take 500 ns per byte.
    """
    return bytes(range(256)).decode(codec, "replace")
