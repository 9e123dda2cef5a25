//! What a body's head says of its bytes: media type and coding; and the bytes without the coding.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

use super::Problem;

/// Largest window of a zstd frame, as a power of two: what RFC 9659 lets a recipient ask for. Without it a frame of a few bytes
/// could ask for 128 MiB.
const ZSTD_WINDOW_LOG_MOST: u32 = 23;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

/// Checks that the body is of one of these media types; the first is the one to be recommended.
pub(super) fn media(headers: &HeaderMap, taken: &[&'static str]) -> Result<(), Problem> {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if taken.iter().any(|taken| media.eq_ignore_ascii_case(taken)) {
        return Ok(());
    }
    Err(Problem::media_type(taken.first().copied().unwrap_or_default()))
}

impl Coding {
    /// At most one is taken: each more would multiply what a few bytes can become.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(CONTENT_ENCODING);
        let Some(value) = values.next() else { return Ok(Self::Identity) };
        let coding = match value.as_bytes().to_ascii_lowercase().trim_ascii() {
            b"identity" => Self::Identity,
            b"gzip" | b"x-gzip" => Self::Gzip,
            b"zstd" => Self::Zstd,
            _ => return Err(Problem::encoding()),
        };
        if values.next().is_some() { Err(Problem::encoding()) } else { Ok(coding) }
    }

    /// The bytes without the coding. Packed bytes that end in the middle, or go on behind the end, are an error.
    pub(super) fn inflate<R: AsyncBufRead>(self, from: R) -> Inflated<R> {
        match self {
            Self::Identity => Inflated::Identity(from),
            Self::Gzip => {
                let mut inflated = GzipDecoder::new(from);
                inflated.multiple_members(true);
                Inflated::Gzip(inflated)
            }
            Self::Zstd => {
                let mut inflated = ZstdDecoder::with_params(from, &[DParameter::window_log_max(ZSTD_WINDOW_LOG_MOST)]);
                inflated.multiple_members(true);
                Inflated::Zstd(inflated)
            }
        }
    }
}

/// Bytes of a body as its sender had them before they were packed.
#[derive(Debug)]
pub(super) enum Inflated<R> {
    Identity(R),
    Gzip(GzipDecoder<R>),
    Zstd(ZstdDecoder<R>),
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Inflated<R> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Identity(from) => {
                let mut from = Pin::new(from);
                let read = std::task::ready!(from.as_mut().poll_fill_buf(context))?;
                let read = read.get(..into.remaining().min(read.len())).unwrap_or_default();
                let bytes = read.len();
                into.put_slice(read);
                from.consume(bytes);
                Poll::Ready(Ok(()))
            }
            Self::Gzip(inflated) => Pin::new(inflated).poll_read(context, into),
            Self::Zstd(inflated) => Pin::new(inflated).poll_read(context, into),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};
    use async_compression::Level;
    use async_compression::tokio::bufread::{GzipEncoder, ZstdEncoder};
    use async_compression::zstd::CParameter;
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::*;

    fn headers(name: &HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        values.iter().for_each(|value| headers.append(name.clone(), HeaderValue::from_static(value)));
        headers
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn packed(coding: Coding, plain: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        wait(async {
            match coding {
                Coding::Identity => packed.extend_from_slice(plain),
                Coding::Gzip => drop(GzipEncoder::new(plain).read_to_end(&mut packed).await.unwrap()),
                Coding::Zstd => drop(ZstdEncoder::new(plain).read_to_end(&mut packed).await.unwrap()),
            }
        });
        packed
    }

    fn inflated(coding: Coding, packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        wait(coding.inflate(packed).read_to_end(&mut plain)).map(|_| plain)
    }

    #[test]
    fn one_known_coding_is_taken_and_no_more() {
        let of = |values: &[&'static str]| Coding::of(&headers(&CONTENT_ENCODING, values)).map_err(|p| p.to_string());
        assert_eq!(of(&[]), Ok(Coding::Identity));
        for (text, coding) in
            [("identity", Coding::Identity), ("GZip", Coding::Gzip), ("x-gzip", Coding::Gzip), ("zstd", Coding::Zstd)]
        {
            assert_eq!(of(&[text]), Ok(coding));
        }
        for refused in [&["br"][..], &["gzip, gzip"], &["gzip", "gzip"], &["gzip", "identity"], &[""], &["deflate"]] {
            assert_eq!(of(refused), Err("415 unsupported-encoding".to_owned()), "{refused:?}");
        }
    }

    #[test]
    fn parameters_of_a_media_type_are_not_looked_at() {
        let taken = |value| media(&headers(&CONTENT_TYPE, &[value]), &["application/json", "text/json"]).is_ok();
        assert!(taken("application/json") && taken("Text/JSON; charset=utf-8"));
        assert!(!taken("application/xml") && !taken("") && media(&HeaderMap::new(), &["application/json"]).is_err());
    }

    #[test]
    fn what_ends_in_the_middle_or_goes_on_behind_the_end_is_an_error() {
        let plain = b"{\"name\":\"Ada\"}\n".repeat(100);
        for coding in [Coding::Gzip, Coding::Zstd] {
            let whole = packed(coding, &plain);
            for cut in 1..whole.len() {
                assert!(inflated(coding, &whole[..cut]).is_err(), "{coding:?} cut to {cut} bytes was taken for whole");
            }
            let twice = [whole.as_slice(), &whole].concat();
            assert_eq!(inflated(coding, &twice).unwrap(), plain.repeat(2), "two members in a row are one body");
            assert!(inflated(coding, &[&whole[..], b"x"].concat()).is_err(), "{coding:?}: rubbish behind the end");
        }
    }

    #[test]
    fn a_zstd_frame_may_ask_for_8_mib_of_window_and_no_more() {
        let frame = |log| {
            let mut packed = Vec::new();
            let (level, window) = (Level::Fastest, [CParameter::window_log(log)]);
            wait(ZstdEncoder::with_quality_and_params(&b"{}"[..], level, &window).read_to_end(&mut packed)).unwrap();
            packed
        };
        assert_eq!(inflated(Coding::Zstd, &frame(23)).unwrap(), b"{}");
        assert!(inflated(Coding::Zstd, &frame(24)).is_err(), "16 MiB of window are taken");
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_out_again(plain in prop::collection::vec(any::<u8>(), 0..2000)) {
            for coding in [Coding::Identity, Coding::Gzip, Coding::Zstd] {
                prop_assert_eq!(&inflated(coding, &packed(coding, &plain)).unwrap(), &plain);
            }
        }
    }
}
