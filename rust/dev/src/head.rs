//! What is kept with an object besides its bytes: the headers that S3 gives back.

use std::collections::BTreeMap;

use s3s::dto::Checksum;
use serde::{Deserialize, Serialize};

/// The headers of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// The user's own: `x-amz-meta-*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The checksums that came with the bytes and were found right, by algorithm, in base64.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub checksums: BTreeMap<String, String>,
}

/// Takes the headers out of the input of an operation that begins an object.
macro_rules! head {
    ($input:expr) => {
        $crate::head::Head {
            content_type: $input.content_type.take(),
            content_encoding: $input.content_encoding.take(),
            content_disposition: $input.content_disposition.take(),
            content_language: $input.content_language.take(),
            cache_control: $input.cache_control.take(),
            metadata: $input.metadata.take().unwrap_or_default().into_iter().collect(),
            checksums: std::collections::BTreeMap::new(),
        }
    };
}
pub(crate) use head;

/// Refuses what the input of such an operation asks for and this server does not do, rather than dropping it.
macro_rules! refuse_unserved {
    ($input:expr) => {
        let asked = [
            $input.acl.is_some(),
            $input.tagging.is_some(),
            $input.server_side_encryption.is_some(),
            $input.sse_customer_algorithm.is_some(),
            $input.ssekms_key_id.is_some(),
            $input.object_lock_mode.is_some(),
            $input.object_lock_legal_hold_status.is_some(),
            $input.website_redirect_location.is_some(),
        ];
        if asked.contains(&true) {
            return Err(s3s::s3_error!(
                NotImplemented,
                "This server has no ACLs, tags, encryption, object locks and redirects."
            ));
        }
    };
}
pub(crate) use refuse_unserved;

/// What S3 calls bytes that came without a type.
pub const UNKNOWN_TYPE: &str = "binary/octet-stream";

impl Head {
    /// Notes checksums that were found right.
    pub fn add(&mut self, sums: Checksum) {
        let all = [
            ("CRC32", sums.checksum_crc32),
            ("CRC32C", sums.checksum_crc32c),
            ("CRC64NVME", sums.checksum_crc64nvme),
            ("SHA1", sums.checksum_sha1),
            ("SHA256", sums.checksum_sha256),
        ];
        self.checksums.extend(all.into_iter().filter_map(|(name, sum)| Some((name.to_owned(), sum?))));
    }

    /// The checksum by this algorithm.
    pub fn sum(&self, algorithm: &str) -> Option<String> {
        self.checksums.get(algorithm).cloned()
    }

    /// As it is stored.
    pub fn encode(&self) -> String {
        // Text and maps of text have a form in JSON, always.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From what is stored; nothing, for an object that another program put there.
    pub fn decode(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn what_is_stored_is_read_again() {
        let head = Head {
            content_type: Some("text/plain".to_owned()),
            metadata: BTreeMap::from([("owner".to_owned(), "Ada".to_owned())]),
            checksums: BTreeMap::from([("CRC32".to_owned(), "DUoRhQ==".to_owned())]),
            ..Head::default()
        };
        assert_eq!(Head::decode(&head.encode()), head);
        assert_eq!(Head::decode(""), Head::default());
    }
}
