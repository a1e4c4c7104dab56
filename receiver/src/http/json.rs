//! Reading a JSON body (RFC 8259) strictly, with errors that say where and what in plain words.
//!
//! Beyond what the parser refuses by itself, an object with the same key twice is an error, wherever it
//! stands: parsers disagree about which of the two counts. A byte order mark before the text is passed
//! over. Values are nested at most 128 deep.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, error::Category};

/// Reads a body; an error is one line.
pub(super) fn read(body: &[u8]) -> Result<Value, String> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let text = std::str::from_utf8(body).map_err(|error| not_utf8(body, error.valid_up_to()))?;
    if text.trim_ascii().is_empty() {
        return Err("the body is empty".into());
    }
    serde_json::from_str(text).map(|Unique(value)| value).map_err(|error| explain(&error, text))
}

/// What is wrong with a body whose octets are text only up to `place`.
fn not_utf8(body: &[u8], place: usize) -> String {
    let begins = |with: &[&[u8]]| with.iter().any(|with| body.starts_with(with));
    if begins(&[GZIP]) {
        return "it looks like gzip: say so with the header Content-Encoding: gzip".into();
    }
    if begins(&[b"\xFF\xFE", b"\xFE\xFF"]) {
        return "it is UTF-16 or UTF-32: send UTF-8".into();
    }
    // Octets that are no text are one character each, as an editor shows them.
    let before = String::from_utf8_lossy(body.get(..place).unwrap_or_default());
    format!("it is not UTF-8 at {}", Position::at_end_of(&before))
}

/// The parser's error with its position, and in plain words where its own are terse.
fn explain(error: &serde_json::Error, text: &str) -> String {
    if error.classify() == Category::Eof {
        return missing(text);
    }
    let shown = error.to_string();
    let position = Position { line: error.line(), column: error.column() };
    let its_own =
        shown.strip_suffix(&format!(" at line {} column {}", position.line, position.column));
    let its_own = its_own.unwrap_or(&shown);
    let plain = match its_own {
        "expected `:`" => "a : is missing between a key and its value",
        "expected `,` or `]`" => "a , or the ] that ends the array is missing",
        "expected `,` or `}`" => "a , or the } that ends the object is missing",
        "expected value" | "expected ident" => {
            "there is no JSON value: expected a number, a string in double quotes, true, false, an \
             object or an array"
        }
        "key must be a string" => {
            "there is no key: expected one in double quotes, or the } that ends the object"
        }
        "trailing comma" => "a , has nothing after it",
        "trailing characters" => {
            "more follows after the end of the value: to send several samples, put them into one array, \
             as [{…}, {…}]"
        }
        "number out of range" => "a number is too large",
        "recursion limit exceeded" => "it is nested too deeply",
        other => other,
    };
    format!("{plain}, at {position}")
}

/// What is missing at the end of a text that ends too early.
fn missing(text: &str) -> String {
    let end = Position::at_end_of(text.trim_end());
    match Unfinished::of(text) {
        Unfinished { string: Some(begin), .. } => format!(
            "the body ends at {end}, within the string that begins at {}: a \" is missing",
            Position::at_end_of(&text[..begin])
        ),
        Unfinished { bracket: Some((begin, bracket)), .. } => {
            let (what, closing) = if bracket == b'{' { ("object", '}') } else { ("array", ']') };
            format!(
                "the body ends at {end}, within the {what} that begins at {}: a {closing} is missing",
                Position::at_end_of(&text[..begin])
            )
        }
        Unfinished { .. } => format!("the body ends at {end}, within a value"),
    }
}

/// What a text that ends too early has begun and not ended, and where.
#[derive(Default)]
struct Unfinished {
    string: Option<usize>,
    /// The innermost object or array.
    bracket: Option<(usize, u8)>,
}

impl Unfinished {
    fn of(text: &str) -> Self {
        let (mut open, mut string, mut is_escaped) = (Vec::new(), None, false);
        for (place, octet) in text.bytes().enumerate() {
            match (string, octet) {
                (Some(_), _) if is_escaped => is_escaped = false,
                (Some(_), b'\\') => is_escaped = true,
                (Some(_), b'"') => string = None,
                (Some(_), _) => {}
                (None, b'"') => string = Some(place),
                (None, b'{' | b'[') => open.push((place, octet)),
                (None, b'}' | b']') => drop(open.pop()),
                (None, _) => {}
            }
        }
        Self { string, bracket: open.pop() }
    }
}

/// A place in a text, both from 1.
#[derive(Clone, Copy)]
struct Position {
    line: usize,
    column: usize,
}

impl Position {
    /// Where what follows `text` stands.
    fn at_end_of(text: &str) -> Self {
        let line = text.matches('\n').count() + 1;
        let last = text.rsplit('\n').next().unwrap_or_default();
        Self { line, column: last.chars().count() + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A value without repeated keys.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Unique(element)) = elements.next_element()? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                let shown: String = key.chars().take(KEY_CHARS_SHOWN).collect();
                return Err(A::Error::custom(format_args!("the key {shown:?} is there twice")));
            }
            let Unique(value) = entries.next_value()?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
const GZIP: &[u8] = b"\x1F\x8B";
/// An error is one line, whatever is sent.
const KEY_CHARS_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(body: impl AsRef<[u8]>) -> String {
        let line = read(body.as_ref()).unwrap_err();
        assert!(!line.contains('\n') && line.len() < 300, "{line}");
        line
    }

    #[test]
    fn values_are_read_as_the_parser_reads_them() {
        for text in [
            r#"{"a": [1, -2, 2.5, 1e3, 18446744073709551615, true, false, null, "x\n\u00e9"]}"#,
            "[]",
            "{}",
            " 7 ",
            r#""text""#,
            r#"[{"a": 1}, {"a": 2, "A": 3, "b": {"a": {"b": 1}}}]"#,
        ] {
            assert_eq!(read(text.as_bytes()), Ok(serde_json::from_str(text).unwrap()), "{text}");
        }
        assert_eq!(read(b"\xEF\xBB\xBF {\"a\": 1}"), read(b"{\"a\": 1}"));
    }

    #[test]
    fn a_key_twice_is_an_error_at_any_depth() {
        for (text, key, position) in [
            (r#"{"temp": 1, "temp": 1}"#, "\"temp\"", "line 1, column 18"),
            (r#"{"temp": 1, "te\u006dp": 2}"#, "\"temp\"", "line 1"),
            ("[{\"a\": 1},\n {\"b\": 1, \"b\": 2}]", "\"b\"", "line 2"),
            (r#"{"a": {"b": [{"c": 1, "d": 2, "c": 3}]}}"#, "\"c\"", "line 1"),
            (r#"{"": 1, "": 2}"#, "\"\"", "line 1"),
            ("{\"a\\nb\": 1, \"a\\nb\": 2}", "\"a\\nb\"", "line 1"),
        ] {
            let line = wrong(text);
            assert!(line.contains(&format!("the key {key} is there twice")), "{text}: {line}");
            assert!(line.contains(position), "{text}: {line}");
        }
        let long = "x".repeat(1_000);
        wrong(format!("{{\"{long}\": 1, \"{long}\": 2}}"));
    }

    #[test]
    fn what_is_missing_is_said_with_its_place() {
        for (text, parts) in [
            ("", &["the body is empty"][..]),
            (" \r\n\t", &["the body is empty"]),
            ("{", &["ends at line 1, column 2", "object", "begins at line 1, column 1", "a } is"]),
            (
                r#"{"a": 1"#,
                &["column 8", "object that begins at line 1, column 1", "a } is missing"],
            ),
            ("{\"a\": 1,\n", &["ends at line 1, column 9", "a } is missing"]),
            (r#"{"a":"#, &["object", "a } is missing"]),
            (r#"{"a""#, &["a } is missing"]),
            (
                "[{\"a\": 1},\n {\"b\": 2",
                &["line 2, column 9", "begins at line 2, column 2", "a }"],
            ),
            ("[{\"a\": \"}]\"}", &["array that begins at line 1, column 1", "a ] is missing"]),
            ("[1, 2", &["a ] is missing"]),
            (r#"{"a": "b"#, &["string that begins at line 1, column 7", "a \" is missing"]),
            (r#"{"a": "b\"}"#, &["string that begins at line 1, column 7", "a \" is missing"]),
            ("tru", &["within a value"]),
            (r#"{"é": ["ü", {"#, &["begins at line 1, column 13"]),
            (r#"{"a" 1}"#, &["a : is missing", "line 1, column 6"]),
            (r#"{"a": 1 "b": 2}"#, &["a , or the } that ends the object", "line 1, column 9"]),
            (r#"[{"a": 1, {"b": 2}]"#, &["expected one in double quotes, or the }", "column 11"]),
            (r#"[{"a": 1], 2]"#, &["a , or the } that ends the object", "column 9"]),
            ("[1 2]", &["a , or the ]"]),
            (r#"{"a": 1,}"#, &["a , has nothing after it"]),
            ("[1,]", &["a , has nothing after it"]),
            (r#"{"a": NaN}"#, &["no JSON value", "line 1, column 7"]),
            (r#"{"a": Infinity}"#, &["no JSON value"]),
            (r#"{"a": nope}"#, &["no JSON value"]),
            (r#"{"a": .5}"#, &["no JSON value"]),
            (r#"{"a": +5}"#, &["no JSON value"]),
            (r#"{"a": 01}"#, &["invalid number"]),
            (r#"{"a": 1e999}"#, &["a number is too large"]),
            ("{'a': 1}", &["expected one in double quotes"]),
            ("{a: 1}", &["expected one in double quotes"]),
            ("{} {}", &["[{…}, {…}]", "line 1, column 4"]),
            ("{\"a\": 1}\n{\"a\": 2}\n", &["[{…}, {…}]", "line 2, column 1"]),
            ("{}]", &["more follows"]),
            ("\u{feff}\u{feff}{}", &["no JSON value"]),
            ("\u{1}", &["no JSON value"]),
            ("temp=50", &["no JSON value"]),
        ] {
            let line = wrong(text);
            assert!(parts.iter().all(|part| line.contains(part)), "{text}: {line}");
        }
    }

    #[test]
    fn what_is_no_text_is_said() {
        for (body, part) in [
            (&b"{\"a\": \"\xE9\"}"[..], "not UTF-8 at line 1, column 8"),
            (b"{\n\"a\": \xFF}", "not UTF-8 at line 2, column 6"),
            (b"\x1F\x8B\x08\x00", "Content-Encoding: gzip"),
            (b"\xFF\xFE{\0}\0", "send UTF-8"),
            (b"\xFE\xFF\0{\0}", "send UTF-8"),
            (b"\xEF\xBB\xBF", "empty"),
            (b"\xED\xA0\x80", "not UTF-8 at line 1, column 1"),
        ] {
            let line = wrong(body);
            assert!(line.contains(part), "{body:?}: {line}");
        }
    }

    #[test]
    fn depth_has_a_limit() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(nested(100).as_bytes()).is_ok());
        assert!(wrong(nested(500_000)).contains("nested too deeply"));
        let objects = r#"{"a":"#.repeat(100_000);
        assert!(wrong(objects).contains("nested too deeply"));
    }
}
