//! The framing of a message: a marker, the length of the metadata, the metadata, the body.

use std::ops::Range;

use arrow::ipc::{Message, root_as_message};

const CONTINUATION: [u8; 4] = [0xff; 4];

/// Bytes before the metadata: the marker and the length.
const PREFIX: usize = 8;

/// A message whose metadata is sound, and whose body is there.
pub(super) struct Framed<'a> {
    pub(super) message: Message<'a>,
    /// Where the body is, in the bytes that were read.
    pub(super) body: Range<usize>,
}

/// Reads the message that begins at `start`.
pub(super) fn framed(bytes: &[u8], start: usize) -> Result<Framed<'_>, String> {
    let no_message = || "bytes that are not an Arrow IPC message".to_owned();
    let (prefix, rest) =
        bytes.get(start..).and_then(|rest| rest.split_first_chunk()).ok_or_else(no_message)?;
    let metadata = metadata_length(prefix).filter(|length| *length > 0).ok_or_else(no_message)?;
    let (metadata, after) = rest.split_at_checked(metadata).ok_or_else(no_message)?;
    let message = root_as_message(metadata).map_err(|error| error.to_string())?;
    let body = message.bodyLength();
    let length = usize::try_from(body).ok().filter(|length| *length <= after.len());
    let length = length.ok_or_else(|| {
        format!("a message with a body of {body} bytes, of which {} are there", after.len())
    })?;
    let begin = start + PREFIX + metadata.len();
    Ok(Framed { message, body: begin..begin + length })
}

/// Whether nothing follows in a stream but its end.
pub(super) fn is_end(rest: &[u8]) -> bool {
    match rest.split_first_chunk() {
        Some((prefix, [])) => metadata_length(prefix) == Some(0),
        _ => rest.is_empty(),
    }
}

fn metadata_length(prefix: &[u8; PREFIX]) -> Option<usize> {
    let (marker, length) = prefix.split_first_chunk::<4>()?;
    let length = i32::from_le_bytes(length.try_into().ok()?);
    usize::try_from(length).ok().filter(|_| *marker == CONTINUATION)
}
