//! URLs.

use datafusion_spark::function::url;

use super::{of, optional, required};
use crate::function::Function;
use crate::parameters::Takes::Text;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "parse_url",
        "A part of a URL: HOST, PATH, QUERY, REF, PROTOCOL, FILE, AUTHORITY or USERINFO; of QUERY, also the value of a key.",
        &[required("url", Text), required("partToExtract", Text), optional("key", Text)],
        of!(url::parse_url),
    )
    .example("SELECT parse_url('http://spark.apache.org/path?query=1', 'HOST')", "spark.apache.org"),
    Function::scalar(
        "try_parse_url",
        "As `parse_url`; null where it is no URL.",
        &[required("url", Text), required("partToExtract", Text), optional("key", Text)],
        of!(url::try_parse_url),
    )
    .example("SELECT try_parse_url('inva lid://x', 'HOST')", "NULL"),
    Function::scalar(
        "try_url_decode",
        "As `url_decode`; null where a text is malformed.",
        &[required("str", Text)],
        of!(url::try_url_decode),
    )
    .example("SELECT try_url_decode('a%2')", "NULL"),
    Function::scalar(
        "url_decode",
        "A text without the escapes of a URL.",
        &[required("str", Text)],
        of!(url::url_decode),
    )
    .example("SELECT url_decode('a%2Fb')", "a/b"),
    Function::scalar(
        "url_encode",
        "A text as application/x-www-form-urlencoded has it.",
        &[required("str", Text)],
        of!(url::url_encode),
    )
    .example("SELECT url_encode('a/b c')", "a%2Fb+c"),
];
