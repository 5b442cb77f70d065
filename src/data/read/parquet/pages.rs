//! The pages of a column chunk. The library unpacks them into as much memory as their headers say, at most 2 GiB, but
//! one that is packed with gzip into as much as comes out of it: those are unpacked here, within limits.

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
        Compression::GZIP(_) => {
            // As if they were not packed, so that they come as they are.
            let chunk = chunk.clone().into_builder();
            let chunk = chunk.set_compression(Compression::UNCOMPRESSED).build()?;
            Box::new(Gzipped(SerializedPageReader::new(
                input, &chunk, rows, None,
            )?))
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

/// Pages that are packed with gzip.
struct Gzipped<R: ChunkReader>(SerializedPageReader<R>);

impl<R: ChunkReader> PageReader for Gzipped<R> {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        self.0.get_next_page()?.map(unpacked).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.0.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.0.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>, ParquetError> {
        self.0.take_deferred_dictionary()?.map(unpacked).transpose()
    }

    fn at_record_boundary(&mut self) -> Result<bool, ParquetError> {
        self.0.at_record_boundary()
    }
}

impl<R: ChunkReader> Iterator for Gzipped<R> {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

fn unpacked(mut page: Page) -> Result<Page, ParquetError> {
    match &mut page {
        Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => *buf = unzipped(buf, 0)?,
        Page::DataPageV2 {
            buf,
            def_levels_byte_len,
            rep_levels_byte_len,
            is_compressed: true,
            ..
        } => {
            let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
            *buf = unzipped(buf, usize::try_from(levels)?)?;
        }
        Page::DataPageV2 { .. } => {}
    }
    Ok(page)
}

/// The bytes of a page whose first ones, its levels, are not packed.
fn unzipped(bytes: &[u8], levels: usize) -> Result<Bytes, ParquetError> {
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
    let got = MultiGzDecoder::new(packed)
        .take(most + 1)
        .read_to_end(&mut unpacked)?;
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

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn zipped(length: u64) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::copy(&mut std::io::repeat(0).take(length), &mut packed).unwrap();
        packed.flush().unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn a_page_unpacks_within_limits() {
        let page = [&[1, 2][..], &zipped(1 << 20)].concat();
        let out = unzipped(&page, 2).unwrap();
        assert_eq!((out.len(), &out[..3]), ((1 << 20) + 2, &[1, 2, 0][..]));
        assert_eq!(&*unzipped(&[1], 1).unwrap(), &[1]);
        assert!(unzipped(&[1], 2).is_err());
        let error = unzipped(&zipped(ALWAYS_BYTES + 1), 0).unwrap_err();
        assert!(
            error.to_string().contains("more than 67108864 bytes"),
            "{error}"
        );
    }
}
