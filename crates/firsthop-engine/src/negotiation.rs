//! Offer in, answer out: what a session agrees on, at its beginning and in mid-call.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::channel::ChannelConfig;
use str0m::config::{DtlsCert, DtlsVersion};
use str0m::format::{Codec as Format, FormatParams};
use str0m::ice::IceCreds;
use str0m::media::{Frequency, Pt};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Rtc, RtcConfig};

use crate::answer;
use crate::candidate;
use crate::codec::Codec;
use crate::event::SessionId;
use crate::offer::{self, Checked, OfferError};
use crate::sound::Sound;

/// Messages and their fragments stay below any path's MTU, IPv6 tunnels included.
const MTU: usize = 1200;
/// Largest data channel message that a client may send, in bytes.
const MAX_MESSAGE: u32 = 256 * 1024;
/// Messages that the client has not acknowledged, in bytes: minutes of events. More is lost.
const MAX_UNACKNOWLEDGED: usize = 1 << 20;
/// For telephone events. A client's own number goes before it.
const PT_DIGITS: u8 = 110;
/// The shortest average interval of RFC 3550 §6.2, as browsers have it for sound.
const RTCP: Duration = Duration::from_secs(5);
/// How often the stack tells what the client reports of its path.
const PATH_REPORTS: Duration = Duration::from_secs(2);

/// What a new session needs besides the offer.
pub struct SessionConfig<'a> {
    /// Its name.
    pub id: SessionId,
    /// Our half of the ICE credentials; the ufrag is the routing token.
    pub credentials: IceCreds,
    /// The addresses that the answer names, most preferred first: the relay's.
    pub advertised: &'a [SocketAddr],
    /// The relay's addresses for clients that cannot send UDP, most preferred first, and less than
    /// all of `advertised`.
    pub advertised_tcp: &'a [SocketAddr],
    /// Shared by all sessions: making one costs milliseconds.
    pub certificate: DtlsCert,
    /// The id of a data channel that both sides have agreed on beforehand, if there is one. The
    /// offer does not tell of such channels (RFC 8831 §6.4).
    pub channel: Option<u16>,
    /// How its sound is handed over and taken.
    pub sound: Sound,
}

/// Why an offer did not become a session.
#[derive(Debug)]
pub enum AcceptError {
    /// The offer is wrong.
    Offer(OfferError),
    /// Something of ours is.
    Internal(String),
}

impl From<OfferError> for AcceptError {
    fn from(error: OfferError) -> Self {
        Self::Offer(error)
    }
}

/// A session that begins.
pub(crate) struct Beginning {
    pub(crate) rtc: Rtc,
    pub(crate) answer: String,
    pub(crate) codec: Codec,
}

/// Makes the stack of a new session, and its answer to `offer`.
pub(crate) fn begin(
    now: Instant,
    offer: &str,
    session: SessionConfig<'_>,
) -> Result<Beginning, AcceptError> {
    let checked = offer::check(offer)?;
    let mut codecs = checked.codecs.iter().copied();
    let opus = matches!(session.sound, Sound::Opus { .. });
    let codec = codecs.find(|&codec| codec == Codec::Opus || !opus);
    let codec = codec.ok_or_else(|| {
        refused("no a=rtpmap for opus/48000/2; the sound of this backend is Opus")
    })?;
    let mut rtc = config(codec, session.credentials, session.certificate).build(now);
    let udp = session.advertised.iter().enumerate();
    let udp = udp.map(|(index, &address)| (address, candidate::udp(index, address)));
    let tcp = session.advertised_tcp.iter().enumerate();
    let tcp = tcp.map(|(index, &address)| (address, candidate::tcp_passive(index, address)));
    for (address, candidate) in udp.chain(tcp) {
        let candidate =
            candidate.map_err(|error| AcceptError::Internal(format!("{address}: {error}")))?;
        rtc.add_local_candidate(candidate);
    }
    let answer = accept(&mut rtc, &checked)?;
    if let Some(id) = session.channel {
        rtc.direct_api().create_data_channel(ChannelConfig {
            negotiated: Some(id),
            ..ChannelConfig::default()
        });
    }
    Ok(Beginning { rtc, answer, codec })
}

/// Answers an offer in mid-call. Where it restarts ICE (RFC 8445 §9), `credentials` become ours.
/// Returns the answer, and whether they have.
pub(crate) fn again(
    rtc: &mut Rtc,
    codec: Codec,
    offer: &str,
    credentials: IceCreds,
) -> Result<(String, bool), OfferError> {
    let checked = offer::check(offer)?;
    if !checked.codecs.contains(&codec) {
        return Err(refused("the codec of this call is not offered any more"));
    }
    if !same_identity(rtc, &checked.sdp) {
        return Err(refused(
            "another a=fingerprint than before; a new DTLS identity takes a new call",
        ));
    }
    let before = rtc.direct_api().local_ice_credentials();
    let answer = accept(rtc, &checked)?;
    let drawn = rtc.direct_api().local_ice_credentials();
    if drawn == before {
        return Ok((answer, false));
    }
    // The stack has drawn some of its own, by which no relay finds the way.
    let answer = answer
        .replace(&drawn.ufrag, &credentials.ufrag)
        .replace(&drawn.pass, &credentials.pass);
    rtc.direct_api().set_local_ice_credentials(credentials);
    Ok((answer, true))
}

fn accept(rtc: &mut Rtc, checked: &Checked) -> Result<String, OfferError> {
    let stack = |error: &dyn std::fmt::Display| refused(&first_line(&error.to_string()));
    let offer = SdpOffer::from_sdp_string(&checked.sdp).map_err(|error| stack(&error))?;
    let answer = rtc.sdp_api().accept_offer(offer);
    let answer = answer.map_err(|error| stack(&error))?.to_sdp_string();
    let answer = answer::with_inactive_video(&checked.sdp, &answer);
    let answer = answer::with_candidates_in_place(&answer::with_one_voice(&answer));
    // An m-line that cannot be served is answered with port 0 (RFC 3264 §6).
    if answer.matches("\r\nm=audio ").count() == answer.matches("\r\nm=audio 0 ").count() {
        return Err(refused(
            "no codec on the m=audio line that both sides speak",
        ));
    }
    Ok(answer)
}

/// Whether the offer names the certificate by which the client has authenticated itself.
fn same_identity(rtc: &mut Rtc, checked: &str) -> bool {
    let direct = rtc.direct_api();
    let Some(known) = direct.remote_dtls_fingerprint() else {
        return true;
    };
    let known = known.to_string();
    let offered = checked.lines();
    offered
        .filter_map(|line| line.strip_prefix("a=fingerprint:"))
        .any(|offered| offered.eq_ignore_ascii_case(&known))
}

fn refused(message: &str) -> OfferError {
    OfferError {
        line: None,
        message: message.to_owned(),
    }
}

fn config(codec: Codec, credentials: IceCreds, certificate: DtlsCert) -> RtcConfig {
    // No transport-cc: for audio alone its 50 ms timer costs more than it tells.
    let mut extensions = ExtensionMap::empty();
    extensions.set(1, Extension::AudioLevel);
    extensions.set(4, Extension::RtpMid);
    let mut config = RtcConfig::new()
        .set_local_ice_credentials(credentials)
        .set_dtls_cert(certificate)
        .set_dtls_version(DtlsVersion::Auto)
        .clear_codecs()
        .enable_opus(codec == Codec::Opus, false)
        .enable_pcmu(codec == Codec::Pcmu, false)
        .enable_pcma(codec == Codec::Pcma, false)
        .set_stats_interval(Some(PATH_REPORTS))
        .set_extension_map(extensions)
        .set_rtp_mode(true)
        .set_rtcp_report_interval_audio(RTCP)
        .set_sctp_max_message_size(MAX_MESSAGE)
        .set_sctp_max_buffered_amount(MAX_UNACKNOWLEDGED)
        .set_mtu(MTU..=usize::MAX);
    config.codec_config().add_config(
        Pt::new_with_value(PT_DIGITS),
        None,
        Format::Tele,
        match codec {
            Codec::Opus => Frequency::FORTY_EIGHT_KHZ,
            Codec::Pcmu | Codec::Pcma => Frequency::EIGHT_KHZ,
        },
        None,
        FormatParams::default(),
    );
    config
}

/// A parser's error goes on for lines; the first says it.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}
