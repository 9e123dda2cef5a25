//! Asks the running service of the same settings whether it is ready: what a container's health check calls, so that its
//! image needs no HTTP client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How long the whole question may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Asks `/readyz` of the admin server that listens at `admin`.
///
/// # Errors
/// Anything but 200, within 2 seconds.
pub async fn ask(admin: SocketAddr) -> anyhow::Result<()> {
    let url = format!("http://{}/readyz", reachable(admin));
    // A proxy that the environment names leads elsewhere.
    let client = reqwest::Client::builder().no_proxy().timeout(LIMIT).build()?;
    let answer = async {
        let answer = client.get(&url).send().await?;
        Ok::<_, reqwest::Error>((answer.status(), answer.text().await?))
    };
    match answer.await {
        Ok((status, _)) if status == reqwest::StatusCode::OK => Ok(()),
        Ok((status, body)) => anyhow::bail!("{url} answers {status}: {}", body.trim()),
        Err(error) if error.is_timeout() => anyhow::bail!("{url} does not answer within {} s", LIMIT.as_secs()),
        Err(error) => anyhow::bail!("{url} does not answer: {}", root(&error)),
    }
}

/// Where a server that listens on all addresses can be reached from here.
fn reachable(mut listening: SocketAddr) -> SocketAddr {
    match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listening.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listening.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listening
}

/// reqwest's own words only repeat the URL.
fn root<'e>(mut error: &'e (dyn std::error::Error + 'static)) -> &'e (dyn std::error::Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_reached_through_the_loopback() {
        let reached = |listening: &str| reachable(listening.parse().expect("an address")).to_string();
        assert_eq!(reached("0.0.0.0:9101"), "127.0.0.1:9101");
        assert_eq!(reached("[::]:9101"), "[::1]:9101");
        assert_eq!(reached("10.1.2.3:9101"), "10.1.2.3:9101");
    }
}
