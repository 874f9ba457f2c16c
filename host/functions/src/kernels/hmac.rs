//! `hmac(key, message, algorithm)`.

use std::sync::Arc;

use datafusion::common::exec_err;
use datafusion::logical_expr::ScalarUDF;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2_of_hmac::{Sha224, Sha256, Sha384, Sha512};

use super::kernel::{binary, bytes, kernel, texts};
use super::rows::binaries;

/// Appends the code of a message.
type Code = fn(&[u8], &[u8], &mut Vec<u8>);

/// Names of algorithms, in any case.
const ALGORITHMS: [(&str, Code); 11] = [
    ("SHA-256", code::<Hmac<Sha256>>),
    ("SHA-512", code::<Hmac<Sha512>>),
    ("SHA-1", code::<Hmac<Sha1>>),
    ("MD5", code::<Hmac<Md5>>),
    ("SHA-224", code::<Hmac<Sha224>>),
    ("SHA-384", code::<Hmac<Sha384>>),
    ("SHA256", code::<Hmac<Sha256>>),
    ("SHA512", code::<Hmac<Sha512>>),
    ("SHA1", code::<Hmac<Sha1>>),
    ("SHA224", code::<Hmac<Sha224>>),
    ("SHA384", code::<Hmac<Sha384>>),
];

fn code<M: Mac + KeyInit>(key: &[u8], message: &[u8], out: &mut Vec<u8>) {
    // A key may have any length.
    if let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) {
        mac.update(message);
        out.extend_from_slice(&mac.finalize().into_bytes());
    }
}

/// The kernel; all arguments are there.
pub(crate) fn hmac() -> Arc<ScalarUDF> {
    kernel("hmac", binary, |columns, _| {
        binaries(columns, |row, out| {
            let (key, name) = (bytes(columns, 0).value(row), texts(columns, 2).value(row));
            let known = ALGORITHMS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            let Some((_, code)) = known else {
                return exec_err!(
                    "[INVALID_PARAMETER_VALUE.HMAC_ALGORITHM] The value of parameter(s) `algorithm` in `hmac` is invalid: expects one of the algorithms 'SHA-224', 'SHA-256', 'SHA-384', 'SHA-512', 'SHA-1', 'MD5', but got '{name}'"
                );
            };
            if key.is_empty() {
                return exec_err!(
                    "[INVALID_PARAMETER_VALUE.HMAC_CRYPTO_ERROR] The value of parameter(s) `key` in `hmac` is invalid: detail message: Empty key"
                );
            }
            code(key, bytes(columns, 1).value(row), out);
            Ok(true)
        })
    })
}
