//! The pages of a column chunk, which the library unpacks into as much memory as their headers say or as comes out of
//! them. Those packed with gzip or zstd, of which a thousand times their size and more can come, are unpacked here,
//! within limits; of snappy and LZ4 comes at most 21 and 255 times as much.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, SerializedPageReader};

/// Writers make pages of about 1 MiB. So much may come out of any, and above it so many times its packed size.
const ALWAYS_BYTES: u64 = 64 << 20;
const RATIO: u64 = 200;

/// The pages of a chunk of so many rows.
pub(super) fn of<R: ChunkReader + 'static>(
    input: Arc<R>,
    chunk: &ColumnChunkMetaData,
    rows: usize,
) -> Result<Box<dyn PageIterator>, ParquetError> {
    let pages: Box<dyn PageReader> = match chunk.compression() {
        packing @ (Compression::GZIP(_) | Compression::ZSTD(_)) => {
            // As if they were not packed, so that they come as they are.
            let chunk = chunk.clone().into_builder();
            let chunk = chunk.set_compression(Compression::UNCOMPRESSED).build()?;
            Box::new(Packed {
                pages: SerializedPageReader::new(input, &chunk, rows, None)?,
                packing,
            })
        }
        _ => Box::new(SerializedPageReader::new(input, chunk, rows, None)?),
    };
    Ok(Box::new(ChunkPages(Some(pages))))
}

struct ChunkPages(Option<Box<dyn PageReader>>);

impl Iterator for ChunkPages {
    type Item = Result<Box<dyn PageReader>, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for ChunkPages {}

/// Pages that are packed with gzip or zstd.
struct Packed<R: ChunkReader> {
    pages: SerializedPageReader<R>,
    packing: Compression,
}

impl<R: ChunkReader> PageReader for Packed<R> {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        let page = self.pages.get_next_page()?;
        page.map(|page| unpacked(page, self.packing)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.pages.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.pages.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>, ParquetError> {
        let page = self.pages.take_deferred_dictionary()?;
        page.map(|page| unpacked(page, self.packing)).transpose()
    }

    fn at_record_boundary(&mut self) -> Result<bool, ParquetError> {
        self.pages.at_record_boundary()
    }
}

impl<R: ChunkReader> Iterator for Packed<R> {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

fn unpacked(mut page: Page, packing: Compression) -> Result<Page, ParquetError> {
    match &mut page {
        Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => {
            *buf = bytes_of(buf, 0, packing)?;
        }
        Page::DataPageV2 {
            buf,
            def_levels_byte_len,
            rep_levels_byte_len,
            is_compressed: true,
            ..
        } => {
            let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
            *buf = bytes_of(buf, usize::try_from(levels)?, packing)?;
        }
        Page::DataPageV2 { .. } => {}
    }
    Ok(page)
}

/// The bytes of a page whose first ones, its levels, are not packed.
fn bytes_of(bytes: &[u8], levels: usize, packing: Compression) -> Result<Bytes, ParquetError> {
    let wrong = |what: &str| ParquetError::General(what.to_owned());
    let (levels, packed) = bytes
        .split_at_checked(levels)
        .ok_or_else(|| wrong("the levels of a page are longer than the page"))?;
    let mut unpacked = levels.to_vec();
    // A page without values is packed to nothing.
    if packed.is_empty() {
        return Ok(unpacked.into());
    }
    let most = ALWAYS_BYTES.max(RATIO * packed.len() as u64);
    let unpacker: Box<dyn Read> = match packing {
        Compression::ZSTD(_) => Box::new(zstd::Decoder::with_buffer(packed)?),
        _ => Box::new(MultiGzDecoder::new(packed)),
    };
    let got = unpacker.take(most + 1).read_to_end(&mut unpacked)?;
    match got as u64 > most {
        true => Err(ParquetError::General(format!(
            "a page of {} bytes unpacks to more than {most} bytes",
            packed.len()
        ))),
        false => Ok(unpacked.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use parquet::basic::{GzipLevel, ZstdLevel};

    use super::*;

    fn zipped(length: u64) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::copy(&mut std::io::repeat(0).take(length), &mut packed).unwrap();
        packed.flush().unwrap();
        packed.finish().unwrap()
    }

    fn zstandard(length: u64) -> Vec<u8> {
        let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
        std::io::copy(&mut std::io::repeat(0).take(length), &mut packed).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn a_page_unpacks_within_limits() {
        let gzip = (
            Compression::GZIP(GzipLevel::default()),
            zipped as fn(u64) -> Vec<u8>,
        );
        let zstd = (
            Compression::ZSTD(ZstdLevel::default()),
            zstandard as fn(u64) -> Vec<u8>,
        );
        for (packing, packed) in [gzip, zstd] {
            let page = [&[1, 2][..], &packed(1 << 20)].concat();
            let out = bytes_of(&page, 2, packing).unwrap();
            assert_eq!((out.len(), &out[..3]), ((1 << 20) + 2, &[1, 2, 0][..]));
            assert_eq!(&*bytes_of(&[1], 1, packing).unwrap(), &[1]);
            assert!(bytes_of(&[1], 2, packing).is_err());
            let error = bytes_of(&packed(ALWAYS_BYTES + 1), 0, packing).unwrap_err();
            assert!(
                error.to_string().contains("more than 67108864 bytes"),
                "{error}"
            );
        }
    }
}
