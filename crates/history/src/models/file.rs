//! One version as one file, to be moved between machines.
//!
//! Layout, numbers little endian: magic (8 bytes), format (u32), number of the version (u64), length of the record (u32),
//! length of the model (u64), record, model, SHA-256 of everything before it. The magic has a byte above 127 and both
//! line ends, so that a transfer as text shows at once (an idea of the PNG format).

use super::code;
use super::record::{Fingerprint, ModelId, ModelRecord};

/// How such files are usually called.
pub const EXTENSION: &str = "fsmodel";

/// Why a file cannot be taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelFileError {
    /// It is something else.
    #[error("this is not an exported model: it does not begin as one")]
    Foreign,
    /// It went through a program that changed its line ends.
    #[error("this exported model was changed by a transfer as text; transfer it as binary")]
    AsText,
    /// Another layout.
    #[error(
        "the exported model has format {found}, this program reads {FORMAT}: use the version of foreshadow that wrote it"
    )]
    Format {
        /// Its format.
        found: u32,
    },
    /// Its end is missing.
    #[error("the exported model is cut off: it has {found} bytes of {expected}")]
    Truncated {
        /// Bytes there are.
        found: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// Something follows it.
    #[error("the exported model has {extra} bytes too many at its end")]
    Excess {
        /// How many.
        extra: u64,
    },
    /// Some of its bytes are not those that were written.
    #[error("the exported model is damaged: its checksum does not match its content")]
    Damaged,
    /// It is whole, and makes no sense.
    #[error("the exported model's record {what}")]
    Record {
        /// What is wrong.
        what: String,
    },
    /// It is whole, and the model in it is not the one its record is about.
    #[error("the exported model's record is about another model")]
    Mismatch,
}

const MAGIC: [u8; 8] = *b"\x89FSM\r\n\x1a\n";
const FORMAT: u32 = 1;
const HEAD: usize = 8 + 4 + 8 + 4 + 8;
const CHECKSUM: usize = 32;

/// The content of the file.
pub(crate) fn write(record: &ModelRecord, body: &[u8]) -> Vec<u8> {
    // A record that was stored can be written again.
    let described = code::encode(record).unwrap_or_default();
    let mut content = Vec::with_capacity(HEAD + described.len() + body.len() + CHECKSUM);
    content.extend_from_slice(&MAGIC);
    content.extend_from_slice(&FORMAT.to_le_bytes());
    content.extend_from_slice(&record.id.get().to_le_bytes());
    content.extend_from_slice(&(described.len() as u32).to_le_bytes());
    content.extend_from_slice(&(body.len() as u64).to_le_bytes());
    content.extend_from_slice(&described);
    content.extend_from_slice(body);
    let checksum = Fingerprint::of(&content).0;
    content.extend_from_slice(&checksum);
    content
}

/// The version in a file, and its model.
pub(crate) fn read(content: &[u8]) -> Result<(ModelRecord, &[u8]), ModelFileError> {
    let common = content.len().min(MAGIC.len());
    if content.is_empty() || content[..common] != MAGIC[..common] {
        let as_text = content.starts_with(b"\x89FSM\n") || content.starts_with(b"\xc2\x89FSM");
        return Err(if as_text { ModelFileError::AsText } else { ModelFileError::Foreign });
    }
    let found = content.len() as u64;
    let Some(head) = content.first_chunk::<HEAD>() else {
        return Err(ModelFileError::Truncated { found, expected: (HEAD + CHECKSUM) as u64 });
    };
    let format = u32::from_le_bytes(part(head, 8));
    if format != FORMAT {
        return Err(ModelFileError::Format { found: format });
    }
    let id = ModelId::new(u64::from_le_bytes(part(head, 12)));
    let described = u32::from_le_bytes(part(head, 20));
    let body = u64::from_le_bytes(part(head, 24));
    let expected = body.saturating_add(u64::from(described)).saturating_add((HEAD + CHECKSUM) as u64);
    if found < expected {
        return Err(ModelFileError::Truncated { found, expected });
    }
    if found > expected {
        return Err(ModelFileError::Excess { extra: found - expected });
    }
    let (whole, checksum) = content.split_at(content.len() - CHECKSUM);
    if Fingerprint::of(whole).0 != checksum {
        return Err(ModelFileError::Damaged);
    }
    // The lengths add up to what is there.
    let (described, body) = whole[HEAD..].split_at(described as usize);
    let record = code::parse(id, described).map_err(|what| ModelFileError::Record { what })?;
    if record.fingerprint != Fingerprint::of(body) || record.bytes != body.len() as u64 {
        return Err(ModelFileError::Mismatch);
    }
    Ok((record, body))
}

fn part<const N: usize>(head: &[u8; HEAD], from: usize) -> [u8; N] {
    std::array::from_fn(|index| head[from + index])
}
