//! Hashes and checksums.

use datafusion_spark::function::hash;

use super::{of, optional, repeated, required};
use crate::function::Function;
use crate::kernels::{hashes, hmac};
use crate::parameters::Takes::{Any, Bytes, Int, Text};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::scalar(
        "crc32",
        "The cyclic redundancy check of bytes, a BIGINT.",
        &[required("expr", Bytes)],
        of!(hash::crc32),
    )
    .null_intolerant()
    .example("SELECT crc32('Spark')", "1557323817"),
    Function::scalar(
        "hash",
        "A hash of 32 bits over all arguments, an INT.",
        &[required("expr", Any), repeated("exprs", Any)],
        |call| Ok(call.of(&hashes::murmur3())),
    )
    .example("SELECT hash('Spark', array(123), 2)", "-1321691492"),
    Function::scalar(
        "hmac",
        "The keyed hash of a message, as bytes: of SHA-224, SHA-256, SHA-384, SHA-512, SHA-1 or MD5, and SHA-256 where none is named.",
        &[required("key", Bytes), required("message", Bytes), optional("algorithm", Text)],
        |call| {
            let algorithm = call.argument_or(2, "SHA-256");
            Ok(hmac::hmac().call(vec![call.argument(0), call.argument(1), algorithm]))
        },
    )
    .null_intolerant()
    .spelled(|name, mut arguments| {
        if arguments.len() == 2 {
            arguments.push("SHA-256".to_owned());
        }
        format!("{name}({})", arguments.join(", "))
    })
    .example(
        "SELECT hex(hmac('key', 'message'))",
        "6E9EF29B75FFFC5B7ABAE527D58FDADB2FE42E7219011976917343065F58ED4A",
    ),
    Function::scalar(
        "md5",
        "The MD5 sum of bytes, in 32 hexadecimal digits.",
        &[required("expr", Bytes)],
        of!(datafusion::functions::crypto::md5),
    )
    .null_intolerant()
    .example("SELECT md5('Spark')", "8cde774d6f7333752ed72cacddb05126"),
    Function::scalar(
        "sha1",
        "The SHA-1 sum of bytes, in 40 hexadecimal digits.",
        &[required("expr", Bytes)],
        of!(hash::sha1),
    )
    .called(&["sha"])
    .null_intolerant()
    .example("SELECT sha1('Spark')", "85f5955f4b27a9a4c2aab6ffe5d7189fc298b92c"),
    Function::scalar(
        "sha2",
        "A sum of the SHA-2 family: of 224, 256, 384 or 512 bits, and 0 is 256. Null for others.",
        &[required("expr", Bytes), required("bitLength", Int)],
        of!(hash::sha2),
    )
    .null_intolerant()
    .example(
        "SELECT sha2('Spark', 256)",
        "529bc3b07127ecb7e53a4dcf1991d9152c24537d919178022b2c42657f79a26b",
    ),
    Function::scalar(
        "xxhash64",
        "A hash of 64 bits over all arguments.",
        &[required("expr", Any), repeated("exprs", Any)],
        |call| Ok(call.of(&hashes::xxhash64())),
    )
    .example("SELECT xxhash64('Spark')", "-4294468057691064905"),
];
