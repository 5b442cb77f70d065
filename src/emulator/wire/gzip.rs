//! Bodies of requests that a client packed on their way: `Content-Encoding: gzip`.

use std::io::{self, Write};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, header};
use flate2::write::MultiGzDecoder;
use futures_util::StreamExt;

/// So much of a packed body is unpacked at once: at most a thousand times as much comes of it.
const PIECE_BYTES: usize = 1 << 12;
/// A body is at most so long once it is unpacked.
const MAX_BYTES: u64 = 4 << 30;

/// Whether a request's body is packed.
pub(in crate::emulator) fn is_packed(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"gzip"))
}

struct Unpacking {
    pieces: BodyDataStream,
    packed: Bytes,
    decoder: MultiGzDecoder<Vec<u8>>,
    length: u64,
    ended: bool,
}

impl Unpacking {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while !self.ended {
            if self.packed.is_empty() {
                match self.pieces.next().await {
                    Some(piece) => self.packed = piece.map_err(io::Error::other)?,
                    None => {
                        self.decoder.try_finish()?;
                        self.ended = true;
                    }
                }
            }
            let piece = self.packed.split_to(self.packed.len().min(PIECE_BYTES));
            self.decoder.write_all(&piece)?;
            let unpacked = std::mem::take(self.decoder.get_mut());
            self.length += unpacked.len() as u64;
            if self.length > MAX_BYTES {
                return Err(io::Error::other(
                    "it has more than 4 GiB when it is unpacked",
                ));
            }
            if !unpacked.is_empty() {
                return Ok(Some(unpacked.into()));
            }
        }
        Ok(None)
    }
}

/// The body as it was before it was packed, unpacked as it is read; one that is no gzip breaks off.
pub(in crate::emulator) fn unpacked(body: Body) -> Body {
    let unpacking = Unpacking {
        pieces: body.into_data_stream(),
        packed: Bytes::new(),
        decoder: MultiGzDecoder::new(Vec::new()),
        length: 0,
        ended: false,
    };
    Body::from_stream(futures_util::stream::try_unfold(
        unpacking,
        |mut unpacking| async move {
            let next = unpacking.next().await?;
            Ok::<_, io::Error>(next.map(|piece| (piece, unpacking)))
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(packed: Vec<u8>) -> Option<Bytes> {
        let pieces: Vec<_> = packed
            .chunks(7)
            .map(|p| Ok::<_, io::Error>(p.to_vec()))
            .collect();
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        axum::body::to_bytes(unpacked(body), usize::MAX).await.ok()
    }

    #[tokio::test]
    async fn what_was_packed_comes_back_and_what_was_not_breaks_off() {
        let plain = "a,b\n1,2\n".repeat(5000);
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(plain.as_bytes()).unwrap();
        let packed = packer.finish().unwrap();
        assert_eq!(read(packed.clone()).await.unwrap(), plain.as_bytes());
        assert!(read(packed[..packed.len() - 9].to_vec()).await.is_none());
        assert!(
            read(b"plain text, and no gzip at all".to_vec())
                .await
                .is_none()
        );
    }
}
