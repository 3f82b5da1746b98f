"""ccbackend.environment: files of settings and addresses of databases as people write them."""

import pytest

from ccbackend.environment import parse_database_url, parse_file


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"NAME=value", "value"),
        (b"NAME = value", "value"),
        (b"  NAME=  value  ", "value"),
        (b"export NAME=value", "value"),
        (b"export  NAME = value # why", "value"),
        (b"NAME=value\r\n", "value"),
        (b"\xef\xbb\xbfNAME=value", "value"),
        (b"\xef\xbb\xbf# why\r\n\r\n\t# why\rNAME=value\r\n", "value"),
        (b"NAME='value'", "value"),
        (b'NAME="value"', "value"),
        (b'NAME = "value" # why', "value"),
        (b"NAME='a # b'#why", "a # b"),
        (b"NAME=", ""),
        (b"NAME=''", ""),
        (b"NAME=   # why", ""),
        (b"NAME=#value", "#value"),
        (b"NAME=a#b=c", "a#b=c"),
        (b"NAME=$value${x}", "$value${x}"),
        (rb'NAME="a\"b\\c\$d\n"', r'a"b\c$d\n'),
        (rb"NAME='a\b\"c'", r"a\b\"c"),
        (rb"NAME=a\b", r"a\b"),
        (b'NAME={"*": {"kind": "none"}}', '{"*": {"kind": "none"}}'),
        (b"""NAME='{"*": {"kind": "none"}}' """, '{"*": {"kind": "none"}}'),
        ("NAME=ä\u2028b".encode(), "ä\u2028b"),
        (b"NAME=value\nNAME='value'", "value"),
    ],
)
def test_a_line_is_read_as_it_is_meant(written: bytes, meant: str) -> None:
    assert parse_file(written) == {"NAME": meant}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"hunter2", "expected NAME=value"),
        (b"NAME: hunter2", "expected NAME=value"),
        (b"export NAME", "expected NAME=value"),
        (b"1NAME=hunter2", "expected NAME=value"),
        (b"NAME='hunter2", "NAME: expected one value between quotes"),
        (b'NAME="hunter2', "NAME: expected one value between quotes"),
        (b'NAME="hunter2\\"', "NAME: expected one value between quotes"),
        (b"NAME='a' hunter2", "NAME: expected one value between quotes"),
        (b"NAME='a'hunter2'b'", "NAME: expected one value between quotes"),
        (b"NAME=hunter2\0", "NAME has a NUL"),
        (b"NAME=hunter2\xff", "is not UTF-8"),
        (b"FIRST=hunter2", "FIRST has another value"),
        ("NAME=hunter2".encode("utf-16"), "is not UTF-8"),
    ],
)
def test_a_line_that_is_none_is_refused_by_its_number_without_its_text(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"line 2:? .*{reason}|line 2:? {reason}") as refusal:
        parse_file(b"FIRST=1\n" + line + b"\n")
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:///var/a.sqlite3", "var/a.sqlite3"),
        ("sqlite:////srv/a.sqlite3", "/srv/a.sqlite3"),
        ("sqlite:////srv/a+b%20c#d.sqlite3", "/srv/a+b c#d.sqlite3"),
        ("sqlite:///:memory:", ":memory:"),
        ("sqlite://:memory:", ":memory:"),
    ],
)
def test_the_path_of_sqlite(url: str, name: str) -> None:
    found = parse_database_url(url)
    assert (found["ENGINE"], found["NAME"], found["OPTIONS"]) == ("django.db.backends.sqlite3", name, {})


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("postgres://u:p@h:5433/n", ("u", "p", "h", "5433", "n", {})),
        ("postgresql://u@h/n", ("u", "", "h", "", "n", {})),
        ("postgres:///n", ("", "", "", "", "n", {})),
        ("postgres://u@/n?host=/run/pg", ("u", "", "/run/pg", "", "n", {})),
        ("postgres:///n?user=u&password=007+%26&host=h&port=5433", ("u", "007 &", "h", "5433", "n", {})),
        ("postgres://u:p@a:1/n?host=b&port=2&user=v&password=w", ("u", "p", "a", "1", "n", {})),
        ("postgres:///n?host=a&host=b&port=", ("", "", "a", "", "n", {})),
        (
            "postgres:///n?hostaddr=::1&options=-c%20a%3Db",
            ("", "", "", "", "n", {"hostaddr": "::1", "options": "-c a=b"}),
        ),
        ("postgres://%2Frun%2Fpg/n", ("", "", "/run/pg", "", "n", {})),
        ("postgres:////run/pg/n", ("", "", "/run/pg", "", "n", {})),
        ("postgres://u:p@[::1]:5433/n", ("u", "p", "::1", "5433", "n", {})),
        ("postgres://u:p@a:1,b:2/n", ("u", "p", "a,b", "1,2", "n", {})),
        ("postgres://u:%2F%23%3F%40%25+%3A@h/n", ("u", "/#?@%+:", "h", "", "n", {})),
        ("postgres://u:a@b:c$&!'\"{}|^~\\*()@h/n", ("u", "a@b:c$&!'\"{}|^~\\*()", "h", "", "n", {})),
        ("postgres://u:100%@h/n", ("u", "100%", "h", "", "n", {})),
        ("postgres://u:[x]@h/n", ("u", "[x]", "h", "", "n", {})),
        ("postgres://h/n?sslmode=require&connect_timeout=5", ("", "", "h", "", "n", {"sslmode": "require"})),
        ("postgres:///?service=jobs", ("", "", "", "", "", {"service": "jobs"})),
    ],
)
def test_the_parts_of_postgresql(url: str, parts: tuple[object, ...]) -> None:
    found = parse_database_url(url)
    assert found["ENGINE"] == "django.db.backends.postgresql"
    timeout = found["OPTIONS"].pop("connect_timeout", 5)
    assert tuple(found[key] for key in ("USER", "PASSWORD", "HOST", "PORT", "NAME", "OPTIONS")) == parts
    assert timeout == 5


@pytest.mark.parametrize(
    "url",
    [
        "hunter2",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite:hunter2.db",
        "sqlite://hunter2.db",
        "sqlite:///hunter2/",
        "sqlite:///a?hunter2=1",
        '"sqlite:///hunter2"',
        "mysql://u:hunter2@h/n",
        "postgres:u:hunter2@h/n",
        "postgres://u:hunter2@h",
        "postgres://u:hunter2@h/",
        "postgres://u:/hunter2@h/n",
        "postgres://u:#hunter2@h/n",
        "postgres://u:?hunter2@h/n",
        "postgres://u:1/hunter2@h/n",
        "postgres://u:1#hunter2@h/n",
        "postgres://u:1?hunter2@h/n",
        "postgres://u:hunter2/@h/n",
        "postgres://u:hunter2#@h/n",
        "postgres://u:hunter2?@h/n",
        "postgres://u:hunter2@h:port/n",
        "postgres://u:hunter2@h:123456/n",
        "postgres://u:hunter2@::1/n",
        "postgres://u:hunter2@[h/n",
        "postgres://u:hunter2%00@h/n",
        "postgres://u@/n?password=hunter2%00",
        "postgres://u:hunter2@h/n#x",
        "postgres://u:p@h/n?hunter2=1",
        " postgres://u:hunter2@h/n",
    ],
)
def test_an_address_of_no_database_is_refused_without_its_text(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected|unknown option") as refusal:
        parse_database_url(url)
    assert "hunter2" not in str(refusal.value)
    if url.startswith("postgres://u:") and "@h/n" in url and "?hunter2=" not in url:
        assert "%2F for /, %23 for #" in str(refusal.value)
