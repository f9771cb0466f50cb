//! What an answer needs beyond what the WebRTC stack says.
//!
//! *Video as inactive* where the stack has rejected it. A rejected m-line has port 0 (RFC 3264 §6),
//! and clients that offer video fail at it in many ways. The first m-line of a BUNDLE group is the
//! one whose transport all share: when it is rejected, another takes its place (RFC 9143 §7.3.2),
//! and Chromium gets nowhere with such an answer. Others take a codec that is missing for an error.
//! So what is in the group stays in it, with the codecs of the offer and `a=inactive`: nothing is
//! sent, and all else works.
//!
//! *One voice.* The agent speaks on one m-line; pages put every stream that they are promised into
//! their player, so no other is promised.
//!
//! *Candidates where the transport is*: with the first m-line that is not rejected (RFC 9143
//! §7.3.2).

const GROUP: &str = "a=group:BUNDLE ";
const SENDS: [&str; 2] = ["a=sendrecv", "a=sendonly"];
const CANDIDATES: [&str; 2] = ["a=candidate:", "a=end-of-candidates"];

/// Returns `answer` with all video that was rejected, and is in the BUNDLE group of `offer`, as
/// inactive. Both have CRLF line ends.
#[must_use]
pub fn with_inactive_video(offer: &str, answer: &str) -> String {
    let (offered, answered) = (parts(offer), parts(answer));
    if offered.len() != answered.len() {
        return answer.to_owned();
    }
    let mids = value(offered[0], GROUP).unwrap_or_default();
    let mut media = String::with_capacity(offer.len() + answer.len());
    let mut accepted = Vec::new();
    for (offered, answered) in offered.iter().zip(&answered).skip(1) {
        let mid = value(answered, "a=mid:").filter(|mid| mids.split(' ').any(|m| m == *mid));
        if !is_rejected(answered) {
            media.push_str(answered);
            accepted.extend(mid);
        } else if mid.is_some() && answered.starts_with("m=video ") {
            media.push_str(&inactive(offered, answered));
            accepted.extend(mid);
        } else {
            media.push_str(answered);
        }
    }
    // In the offer's order: its first one is the one that carries the transport.
    let group: Vec<_> = mids
        .split(' ')
        .filter(|mid| accepted.contains(mid))
        .collect();
    let mut session = String::with_capacity(answered[0].len() + media.len());
    for line in lines(answered[0]) {
        if line.starts_with(GROUP) {
            session.extend([GROUP, &group.join(" "), "\r\n"]);
        } else {
            session.push_str(line);
        }
    }
    session + &media
}

/// Returns `answer` with sound promised on one m-line, the first that it can be sent on.
#[must_use]
pub fn with_one_voice(answer: &str) -> String {
    let mut spoken = false;
    let parts = parts(answer).into_iter().map(|part| {
        let sends = lines(part).any(|line| SENDS.contains(&line.trim_end()));
        let audio = part.starts_with("m=audio ") && !is_rejected(part) && sends;
        if !audio || !std::mem::replace(&mut spoken, true) {
            return part.to_owned();
        }
        let silent = lines(part).map(|line| match line.trim_end() {
            "a=sendrecv" => "a=recvonly\r\n",
            "a=sendonly" => "a=inactive\r\n",
            _ => line,
        });
        silent.collect()
    });
    parts.collect()
}

/// Returns `answer` with the candidates in the first m-line that is not rejected.
#[must_use]
pub fn with_candidates_in_place(answer: &str) -> String {
    let parts = parts(answer);
    let place = parts.iter().skip(1).position(|part| !is_rejected(part));
    let Some(place) = place.map(|index| index + 1) else {
        return answer.to_owned();
    };
    let misplaced = |line: &&str| CANDIDATES.iter().any(|name| line.starts_with(name));
    let rejected = parts[1..place].iter().flat_map(|part| lines(part));
    let candidates: String = rejected.filter(misplaced).collect();
    let mut placed = parts[0].to_owned();
    for part in &parts[1..place] {
        placed.extend(lines(part).filter(|line| !misplaced(line)));
    }
    placed.push_str(parts[place]);
    placed.push_str(&candidates);
    placed.extend(parts[place + 1..].iter().copied());
    placed
}

fn is_rejected(part: &str) -> bool {
    part.split(' ').nth(1) == Some("0")
}

fn inactive(offered: &str, answered: &str) -> String {
    let formats = offered
        .lines()
        .next()
        .and_then(|line| line.splitn(4, ' ').nth(3));
    let mut part = format!("m=video 9 UDP/TLS/RTP/SAVPF {}\r\n", formats.unwrap_or("0"));
    for line in lines(answered).skip(1) {
        part.push_str(match line.trim_end() {
            "a=sendrecv" | "a=sendonly" | "a=recvonly" => "a=inactive\r\n",
            _ => line,
        });
    }
    let codecs = lines(offered).filter(|line| {
        ["a=rtpmap:", "a=fmtp:"]
            .iter()
            .any(|name| line.starts_with(name))
    });
    part.extend(codecs);
    part
}

/// The session part of an SDP, then each m-line with its attributes.
fn parts(sdp: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = sdp;
    while let Some(end) = rest.find("\r\nm=") {
        let (part, more) = rest.split_at(end + 2);
        parts.push(part);
        rest = more;
    }
    parts.push(rest);
    parts
}

/// Lines with their ends.
fn lines(part: &str) -> impl Iterator<Item = &str> {
    part.split_inclusive("\r\n")
}

/// What follows `name` on the first line of `part` that begins with it.
fn value<'a>(part: &'a str, name: &str) -> Option<&'a str> {
    part.lines().find_map(|line| line.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "v=0\r\na=group:BUNDLE 0 1\r\ns=-\r\n";
    const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:0\r\na=sendonly\r\n\
                         a=rtpmap:96 H264/90000\r\na=rtcp-fb:96 nack\r\n\
                         a=fmtp:96 packetization-mode=1\r\na=rtpmap:97 rtx/90000\r\n";
    const REJECTED: &str = "m=video 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=recvonly\r\n";
    const INACTIVE: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:0\r\na=inactive\r\n\
                            a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n\
                            a=rtpmap:97 rtx/90000\r\n";
    const AUDIO: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\na=recvonly\r\n";

    fn answer(group: &str, media: [&str; 2]) -> String {
        SESSION.replace("0 1", group) + &media.concat()
    }

    #[test]
    fn video_stays_in_the_bundle_and_is_inactive_wherever_it_stands() {
        let offer = [SESSION, VIDEO, AUDIO].concat();
        assert_eq!(
            with_inactive_video(&offer, &answer("1", [REJECTED, AUDIO])),
            answer("0 1", [INACTIVE, AUDIO])
        );
        let offer = [SESSION, AUDIO, VIDEO].concat();
        assert_eq!(
            with_inactive_video(&offer, &answer("1", [AUDIO, REJECTED])),
            answer("0 1", [AUDIO, INACTIVE])
        );
    }

    #[test]
    fn video_outside_the_bundle_stays_rejected() {
        for group in ["a=group:BUNDLE 1", "a=x"] {
            let offer = [SESSION, VIDEO, AUDIO].concat();
            let offer = offer.replace("a=group:BUNDLE 0 1", group);
            let changed = with_inactive_video(&offer, &answer("1", [REJECTED, AUDIO]));
            assert!(changed.contains(REJECTED), "{changed}");
        }
    }

    #[test]
    fn sound_is_promised_once() {
        let line =
            |direction: &str| format!("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na={direction}\r\n");
        for (offered, promised) in [
            (["sendrecv", "sendrecv"], ["sendrecv", "recvonly"]),
            (["sendonly", "sendonly"], ["sendonly", "inactive"]),
            (["recvonly", "sendrecv"], ["recvonly", "sendrecv"]),
        ] {
            let [before, after] = [offered, promised]
                .map(|directions| SESSION.to_owned() + &directions.map(line).concat());
            assert_eq!(with_one_voice(&before), after);
        }
    }

    #[test]
    fn candidates_stand_with_the_first_line_that_is_served() {
        let candidates = "a=candidate:1 1 udp 1 192.0.2.1 3478 typ host\r\na=end-of-candidates\r\n";
        let rejected = "m=audio 0 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n";
        let answer = [SESSION, rejected, candidates, AUDIO].concat();
        assert_eq!(
            with_candidates_in_place(&answer),
            [SESSION, rejected, AUDIO, candidates].concat()
        );
        let answer = [SESSION, AUDIO, candidates, rejected].concat();
        assert_eq!(with_candidates_in_place(&answer), answer);
    }

    #[test]
    fn what_has_no_video_stays_as_it_is() {
        let offer = [&SESSION.replace("0 1", "1"), AUDIO].concat();
        for same in [offer.as_str(), "v=0\r\n", ""] {
            assert_eq!(with_inactive_video(&offer, same), same);
        }
    }
}
