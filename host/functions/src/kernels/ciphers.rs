//! `aes_encrypt`, `aes_decrypt` and `try_aes_decrypt`, with the modes, checks and errors of Spark's
//! ExpressionImplUtils. What is encrypted begins with its initialization vector, except in ECB.

use std::sync::Arc;

use aes::cipher::array::Array;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::common::{InnerInit, InnerIvInit};
use aes::cipher::consts::{U12, U16};
use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, BlockSizeUser,
    KeyInit,
};
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::{Aead, Payload};
use arrow::array::{ArrayRef, BinaryBuilder};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::ScalarUDF;

use super::kernel::{binary, bytes, check_bytes, kernel, texts};
use super::rows::{are_present, rows_of};

/// Bytes of an authentication tag, which is behind what GCM encrypted.
const TAG_BYTES: usize = 16;
/// Bytes of a block, and so of a vector in CBC.
const BLOCK_BYTES: usize = 16;
/// Bytes of a vector in GCM.
const GCM_VECTOR_BYTES: usize = 12;

/// How blocks follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Gcm,
    Cbc,
    Ecb,
}

impl Mode {
    fn named(mode: &str, padding: &str) -> Result<Mode> {
        let is = |word: &str| mode.eq_ignore_ascii_case(word);
        let pads = |word: &str| padding.eq_ignore_ascii_case(word);
        if is("GCM") && (pads("NONE") || pads("DEFAULT")) {
            return Ok(Mode::Gcm);
        }
        if pads("PKCS") || pads("DEFAULT") {
            if is("CBC") {
                return Ok(Mode::Cbc);
            }
            if is("ECB") {
                return Ok(Mode::Ecb);
            }
        }
        exec_err!(
            "[UNSUPPORTED_FEATURE.AES_MODE] The feature is not supported: AES-{mode} with the padding {padding} by the `aes_encrypt`/`aes_decrypt` function; take GCM with DEFAULT or NONE, or CBC or ECB with DEFAULT or PKCS"
        )
    }

    fn vector_bytes(self) -> usize {
        match self {
            Mode::Gcm => GCM_VECTOR_BYTES,
            Mode::Cbc => BLOCK_BYTES,
            Mode::Ecb => 0,
        }
    }
}

/// A key that is ready for use: a schedule of the rounds' keys.
enum Key {
    Of128(Aes128),
    Of192(Aes192),
    Of256(Aes256),
}

impl Key {
    fn new(bytes: &[u8]) -> Result<Key> {
        let key = match bytes.len() {
            16 => Aes128::new_from_slice(bytes).map(Key::Of128),
            24 => Aes192::new_from_slice(bytes).map(Key::Of192),
            32 => Aes256::new_from_slice(bytes).map(Key::Of256),
            found => {
                return exec_err!(
                    "[INVALID_PARAMETER_VALUE.AES_KEY_LENGTH] The value of parameter(s) `key` in `aes_encrypt`/`aes_decrypt` is invalid: expects a binary value with 16, 24 or 32 bytes, but got {found} bytes"
                );
            }
        };
        key.map_err(|_| failed("the key has another length"))
    }
}

/// The key of the row before, which mostly is the same.
#[derive(Default)]
struct Keys {
    last: Option<(Vec<u8>, Key)>,
}

impl Keys {
    fn of(&mut self, bytes: &[u8]) -> Result<&Key> {
        if self.last.as_ref().is_none_or(|(known, _)| known != bytes) {
            self.last = Some((bytes.to_vec(), Key::new(bytes)?));
        }
        match &self.last {
            Some((_, key)) => Ok(key),
            None => Err(failed("there is no key")),
        }
    }
}

/// Spark's error for what Java's ciphers refuse.
fn failed(detail: &str) -> DataFusionError {
    exec_datafusion_err!(
        "[INVALID_PARAMETER_VALUE.AES_CRYPTO_ERROR] The value of parameter(s) `expr`, `key` in `aes_encrypt`/`aes_decrypt` is invalid: detail message: {detail}"
    )
}

fn no_aad(mode: &str) -> DataFusionError {
    exec_datafusion_err!(
        "[UNSUPPORTED_FEATURE.AES_MODE_AAD] The feature is not supported: `aes_encrypt` with AES-{mode} does not support additional authenticate data (AAD); leave it out, or take GCM"
    )
}

/// A value to encrypt or decrypt, with all that goes with it.
struct Task<'a> {
    input: &'a [u8],
    mode: &'a str,
    padding: &'a str,
    vector: &'a [u8],
    aad: &'a [u8],
}

fn encrypted(key: &Key, task: &Task<'_>) -> Result<Vec<u8>> {
    let mode = Mode::named(task.mode, task.padding)?;
    if mode == Mode::Ecb && !task.vector.is_empty() {
        return exec_err!(
            "[UNSUPPORTED_FEATURE.AES_MODE_IV] The feature is not supported: `aes_encrypt` with AES-{} does not support initialization vectors (IVs); leave it out",
            task.mode
        );
    }
    if mode != Mode::Ecb && task.vector.is_empty() {
        return exec_err!(
            "[UNSUPPORTED_FEATURE] aes_encrypt() takes a random initialization vector where the one that it is given is empty, and a batch has to give the same rows when it is run again; give one of {} bytes",
            mode.vector_bytes()
        );
    }
    if task.vector.len() != mode.vector_bytes() {
        return exec_err!(
            "[INVALID_PARAMETER_VALUE.AES_IV_LENGTH] The value of parameter(s) `iv` in `aes_encrypt`/`aes_decrypt` is invalid: supports 16-byte CBC IVs and 12-byte GCM IVs, but got {} bytes for {}",
            task.vector.len(),
            task.mode
        );
    }
    if mode != Mode::Gcm && !task.aad.is_empty() {
        return Err(no_aad(task.mode));
    }
    let secret = match key {
        Key::Of128(cipher) => encrypted_by(cipher, mode, task),
        Key::Of192(cipher) => encrypted_by(cipher, mode, task),
        Key::Of256(cipher) => encrypted_by(cipher, mode, task),
    }?;
    Ok([task.vector, &secret].concat())
}

fn encrypted_by<C>(cipher: &C, mode: Mode, task: &Task<'_>) -> Result<Vec<u8>>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + Clone,
{
    match mode {
        Mode::Gcm => {
            let vector = <&Array<u8, U12>>::try_from(task.vector)
                .map_err(|_| failed("the vector has another length"))?;
            let payload = Payload { msg: task.input, aad: task.aad };
            AesGcm::<C, U12>::from(cipher.clone())
                .encrypt(vector, payload)
                .map_err(|_| failed("the value is too long"))
        }
        Mode::Cbc => {
            let vector = <&Array<u8, U16>>::try_from(task.vector)
                .map_err(|_| failed("the vector has another length"))?;
            let cipher = cbc::Encryptor::inner_iv_init(cipher.clone(), vector);
            Ok(cipher.encrypt_padded_vec::<Pkcs7>(task.input))
        }
        Mode::Ecb => {
            let cipher = ecb::Encryptor::inner_init(cipher.clone());
            Ok(cipher.encrypt_padded_vec::<Pkcs7>(task.input))
        }
    }
}

fn decrypted(key: &Key, task: &Task<'_>) -> Result<Vec<u8>> {
    let mode = Mode::named(task.mode, task.padding)?;
    if task.input.len() < mode.vector_bytes() {
        return Err(failed("the value is shorter than the initialization vector it begins with"));
    }
    // In ECB, Spark does not look at it.
    if mode == Mode::Cbc && !task.aad.is_empty() {
        return Err(no_aad(task.mode));
    }
    let (vector, input) = task.input.split_at(mode.vector_bytes());
    let task = Task { input, vector, ..*task };
    match key {
        Key::Of128(cipher) => decrypted_by(cipher, mode, &task),
        Key::Of192(cipher) => decrypted_by(cipher, mode, &task),
        Key::Of256(cipher) => decrypted_by(cipher, mode, &task),
    }
}

fn decrypted_by<C>(cipher: &C, mode: Mode, task: &Task<'_>) -> Result<Vec<u8>>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Clone,
{
    if mode != Mode::Gcm {
        // Java gives nothing for nothing, though encrypting nothing gives a block.
        if task.input.is_empty() {
            return Ok(Vec::new());
        }
        if !task.input.len().is_multiple_of(BLOCK_BYTES) {
            return Err(failed(
                "Input length must be multiple of 16 when decrypting with padded cipher",
            ));
        }
    }
    let is_padded_otherwise = |_| {
        failed(
            "Given final block not properly padded. Such issues can arise if a bad key is used during decryption.",
        )
    };
    match mode {
        Mode::Gcm if task.input.len() < TAG_BYTES => {
            Err(failed("the value is too short to contain a tag of 16 bytes"))
        }
        Mode::Gcm => {
            let vector = <&Array<u8, U12>>::try_from(task.vector)
                .map_err(|_| failed("the vector has another length"))?;
            let payload = Payload { msg: task.input, aad: task.aad };
            AesGcm::<C, U12>::from(cipher.clone())
                .decrypt(vector, payload)
                .map_err(|_| failed("Tag mismatch"))
        }
        Mode::Cbc => {
            let vector = <&Array<u8, U16>>::try_from(task.vector)
                .map_err(|_| failed("the vector has another length"))?;
            let cipher = cbc::Decryptor::inner_iv_init(cipher.clone(), vector);
            cipher.decrypt_padded_vec::<Pkcs7>(task.input).map_err(is_padded_otherwise)
        }
        Mode::Ecb => {
            let cipher = ecb::Decryptor::inner_init(cipher.clone());
            cipher.decrypt_padded_vec::<Pkcs7>(task.input).map_err(is_padded_otherwise)
        }
    }
}

/// Bytes for each row in which no argument is null.
fn each(
    columns: &[ArrayRef],
    mut value: impl FnMut(usize) -> Result<Option<Vec<u8>>>,
) -> Result<ArrayRef> {
    let (rows, mut all) = (rows_of(columns), 0);
    let mut builder = BinaryBuilder::with_capacity(rows, rows * 32);
    for row in 0..rows {
        let value = if are_present(columns, row) { value(row)? } else { None };
        all = check_bytes(all, value.as_ref().map_or(0, Vec::len))?;
        builder.append_option(value);
    }
    Ok(Arc::new(builder.finish()))
}

/// `aes_encrypt(value, key, mode, padding, vector, aad)`.
pub(crate) fn aes_encrypt() -> Arc<ScalarUDF> {
    kernel("aes_encrypt", binary, |columns, _| {
        let mut keys = Keys::default();
        each(columns, |row| {
            let task = Task {
                input: bytes(columns, 0).value(row),
                mode: texts(columns, 2).value(row),
                padding: texts(columns, 3).value(row),
                vector: bytes(columns, 4).value(row),
                aad: bytes(columns, 5).value(row),
            };
            encrypted(keys.of(bytes(columns, 1).value(row))?, &task).map(Some)
        })
    })
}

fn decrypted_row(columns: &[ArrayRef], keys: &mut Keys, row: usize) -> Result<Vec<u8>> {
    let task = Task {
        input: bytes(columns, 0).value(row),
        mode: texts(columns, 2).value(row),
        padding: texts(columns, 3).value(row),
        vector: &[],
        aad: bytes(columns, 4).value(row),
    };
    decrypted(keys.of(bytes(columns, 1).value(row))?, &task)
}

/// `aes_decrypt(value, key, mode, padding, aad)`.
pub(crate) fn aes_decrypt() -> Arc<ScalarUDF> {
    kernel("aes_decrypt", binary, |columns, _| {
        let mut keys = Keys::default();
        each(columns, |row| decrypted_row(columns, &mut keys, row).map(Some))
    })
}

/// The same; null where it fails.
pub(crate) fn try_aes_decrypt() -> Arc<ScalarUDF> {
    kernel("try_aes_decrypt", binary, |columns, _| {
        let mut keys = Keys::default();
        each(columns, |row| Ok(decrypted_row(columns, &mut keys, row).ok()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task<'a>(input: &'a [u8], mode: &'a str, vector: &'a [u8], aad: &'a [u8]) -> Task<'a> {
        Task { input, mode, padding: "DEFAULT", vector, aad }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_spark_encrypts_is_encrypted_alike() -> Result<()> {
        let key = Key::new(b"0000111122223333")?;
        let long = Key::new(b"000011112222333344445555")?;
        for (key, task, wanted) in [
            (&key, task(b"Spark", "ECB", b"", b""), "348ff37ebde05b7880ba339068fbda5e"),
            (&key, task(b"", "ecb", b"", b""), "a2b86e759170de0dda876438211908c0"),
            (&long, task(b"Spark", "ECB", b"", b""), "3fb61524010af3d0e9c167c5797094f9"),
            (
                &key,
                task(b"", "GCM", b"123456789012", b""),
                "313233343536373839303132d0519f3eed94dc7c91c5ceb149219c9c",
            ),
            (
                &key,
                task(b"Spark", "CBC", b"1234567890123456", b""),
                "313233343536373839303132333435363e5f2caae7d5ff4cc8ace19fc9e89b54",
            ),
        ] {
            assert_eq!(hex(&encrypted(key, &task)?), wanted, "{}", task.mode);
        }
        Ok(())
    }

    #[test]
    fn what_is_encrypted_is_decrypted_and_nothing_else() -> Result<()> {
        let key = Key::new(b"abcdefghijklmnop12345678ABCDEFGH")?;
        let stored = encrypted(&key, &task(b"Spark", "GCM", b"123456789012", b"aad"))?;
        assert_eq!(decrypted(&key, &task(&stored, "GCM", b"", b"aad"))?, b"Spark");
        let told = |task| decrypted(&key, &task).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(told(task(&stored, "GCM", b"", b"other")).contains("Tag mismatch"));
        assert!(told(task(&stored[..20], "GCM", b"", b"")).contains("too short"));
        assert!(told(task(b"x", "ECB", b"", b"")).contains("multiple of 16"));
        assert!(told(task(&[0; 16], "ECB", b"", b"")).contains("not properly padded"));
        assert_eq!(decrypted(&key, &task(&[0; 16], "CBC", b"", b""))?, b"");
        Ok(())
    }
}
