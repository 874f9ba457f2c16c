//! Encryption.

use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::Expr;

use super::{optional, required};
use crate::call::Call;
use crate::function::Function;
use crate::kernels::ciphers;
use crate::parameters::Parameter;
use crate::parameters::Takes::{Bytes, Text};

const DECRYPTED: &[Parameter] = &[
    required("expr", Bytes),
    required("key", Bytes),
    optional("mode", Text),
    optional("padding", Text),
    optional("aad", Bytes),
];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "aes_decrypt",
        "What `aes_encrypt` encrypted, by a key of 16, 24 or 32 bytes, in GCM, CBC or ECB.",
        DECRYPTED,
        |call| Ok(ciphers::aes_decrypt().call(with_defaults(call, 5))),
    )
    .null_intolerant()
    .spelled(|name, arguments| spelled(name, arguments, 5))
    .example(
        "SELECT string(aes_decrypt(unbase64('3lmwu+Mw0H3fi5NDvcu9lg=='), '1234567890abcdef', 'ECB', 'PKCS'))",
        "Spark SQL",
    ),
    Function::scalar(
        "aes_encrypt",
        "Bytes, encrypted by a key of 16, 24 or 32 bytes, in GCM, CBC or ECB. GCM and CBC need an initialization vector, as a random one would be another when a batch is run again.",
        &[
            required("expr", Bytes),
            required("key", Bytes),
            optional("mode", Text),
            optional("padding", Text),
            optional("iv", Bytes),
            optional("aad", Bytes),
        ],
        encrypted,
    )
    .null_intolerant()
    .spelled(|name, arguments| spelled(name, arguments, 6))
    .example(
        "SELECT base64(aes_encrypt('Spark SQL', '1234567890abcdef', 'ECB', 'PKCS'))",
        "3lmwu+Mw0H3fi5NDvcu9lg==",
    ),
    Function::scalar(
        "try_aes_decrypt",
        "As `aes_decrypt`; null where it fails.",
        DECRYPTED,
        |call| Ok(ciphers::try_aes_decrypt().call(with_defaults(call, 5))),
    )
    .null_intolerant()
    .spelled(|name, arguments| spelled(name, arguments, 5))
    .example("SELECT try_aes_decrypt('x', '1234567890abcdef')", "NULL"),
];

/// What Spark puts in the place of arguments that are left out.
const DEFAULTS: [&str; 6] = ["", "", "GCM", "DEFAULT", "", ""];

fn with_defaults(call: &Call, count: usize) -> Vec<Expr> {
    let mut arguments = call.arguments();
    for (place, default) in DEFAULTS.iter().enumerate().take(count).skip(arguments.len()) {
        let default = match place {
            2 | 3 => ScalarValue::from(*default),
            _ => ScalarValue::Binary(Some(default.as_bytes().to_vec())),
        };
        arguments.push(Expr::Literal(default, None));
    }
    arguments
}

/// Without a vector, Spark takes a random one.
fn encrypted(call: &mut Call) -> Result<Expr> {
    // Of a mode that is not written out, each row is looked at.
    let is_random = match (call.count(), call.text(2)) {
        (..3, _) => true,
        (_, Some(mode)) => !mode.eq_ignore_ascii_case("ECB"),
        _ => false,
    };
    if call.count() < 5 && is_random {
        return plan_err!(
            "[UNSUPPORTED_FEATURE] aes_encrypt() without an initialization vector takes a random one, and a batch has to give the same rows when it is run again; give one that is never used twice with a key: aes_encrypt(expr, key, 'GCM', 'DEFAULT', iv)"
        );
    }
    Ok(ciphers::aes_encrypt().call(with_defaults(call, 6)))
}

fn spelled(name: &str, mut arguments: Vec<String>, count: usize) -> String {
    let missing = DEFAULTS.iter().take(count).skip(arguments.len());
    arguments.extend(missing.map(|default| (*default).to_owned()));
    format!("{name}({})", arguments.join(", "))
}
