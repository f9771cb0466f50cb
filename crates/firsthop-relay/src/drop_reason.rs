//! Why a packet goes no further. A closed set: it is the label of a metric.

use firsthop_wire::hop::HopError;
use firsthop_wire::token::TokenError;

use crate::label::labels;

labels! {
    /// Why a packet goes no further.
    ///
    /// A bad packet is no error: it is dropped, counted under its reason, never answered and never
    /// logged by itself.
    DropReason {
        /// Ingress: a datagram without a byte.
        Empty = "empty",
        /// Ingress: longer than [`firsthop_wire::MAX_CLIENT_DATAGRAM`].
        Oversize = "oversize",
        /// Either way: an address that no client has and no answer can reach, such as port 0,
        /// multicast, or IPv6 link-local (the hop header has no room for its zone).
        ClientAddress = "client_address",
        /// Ingress: the first byte is none of STUN, DTLS, RTP. A hop header on a public socket too.
        UnknownProtocol = "unknown_protocol",
        /// Ingress: looks like STUN, but is no binding message that ICE would send.
        StunMalformed = "stun_malformed",
        /// Ingress: a binding request that names no server ufrag.
        StunUsername = "stun_username",
        /// Ingress: the server ufrag is not 32 ice-chars.
        TokenShape = "token_shape",
        /// Ingress: a token version or format that this build does not know.
        TokenVersion = "token_version",
        /// Ingress: no token key under its key id.
        TokenUnknownKey = "token_unknown_key",
        /// Ingress: the token was not sealed under our key. Forged, or garbled.
        TokenTag = "token_tag",
        /// Ingress: the token is past its slot.
        TokenExpired = "token_expired",
        /// Ingress: the token names another cluster than those whose keys open it.
        UnknownCluster = "unknown_cluster",
        /// Either way: the owner that a token, or a cluster's relay, names is outside the cluster's
        /// networks and ports.
        OwnerNotAllowed = "owner_not_allowed",
        /// Ingress: of no known flow, no binding request with a token, and no owner turned up in time.
        UnknownFlow = "unknown_flow",
        /// Ingress: of an unknown flow, and too many packets wait for an owner already.
        ParkingFull = "parking_full",
        /// Neither way: something for the control plane or from it found its mailbox full. No packet is
        /// lost by that alone.
        MailboxFull = "mailbox_full",
        /// Egress: the datagram's source is neither in the networks and ports of a cluster that this
        /// relay reaches itself, nor a relay of another one, nor an edge.
        SourceNotAllowed = "source_not_allowed",
        /// Egress: no hop header, or one that runs past the end. The rest of the datagram is lost.
        HopMalformed = "hop_malformed",
        /// Egress: no cluster secret under its key id.
        HopUnknownKey = "hop_unknown_key",
        /// Egress: not sealed by the datagram's source, be it an owner, a relay or an edge. The rest of the datagram is lost.
        HopMac = "hop_mac",
        /// Egress: sealed too long ago, or in the future.
        HopTick = "hop_tick",
        /// Egress: an up record from somebody who is no edge, or a down record from an edge.
        HopDirection = "hop_direction",
        /// Egress: no hops left.
        HopLimit = "hop_limit",
        /// Egress: an owner names a return hop that is none of our edges.
        UnexpectedHop = "unexpected_hop",
        /// Egress: an edge, or a cluster's relay, does not say which owner it is about.
        MissingHop = "missing_hop",
        /// Egress: an edge has a packet for an owner that this relay does not reach itself.
        OwnerNotReached = "owner_not_reached",
        /// Egress: a probe that carries a packet, or is for a cluster that this relay does not reach
        /// itself. It is not answered.
        UnexpectedProbe = "unexpected_probe",
        /// Egress: names a public socket that this relay does not have, or another site.
        UnknownIngress = "unknown_ingress",
        /// Egress: the flow belongs to another owner.
        NotOwner = "not_owner",
        /// Egress: of no known flow, and no CONFIRM to create one.
        NoFlow = "no_flow",
        /// Egress: the owner answered that it has no such session. The record carries no packet.
        NoSession = "no_session",
        /// Egress: a flow could not be remembered. The one reason under which the packet itself goes
        /// on; it is the client's next packet that misses the flow.
        FlowTableFull = "flow_table_full",
        /// Either way: the socket's send buffer was full.
        SendBlocked = "send_blocked",
        /// Either way: larger than the path allows; nothing is ever fragmented.
        SendTooBig = "send_too_big",
        /// Either way: the kernel refused, for instance after an ICMP error.
        SendFailed = "send_failed",
        /// Egress: the client's TCP connection is gone, and with it the client's address.
        TcpGone = "tcp_gone",
        /// Egress: the client reads its TCP connection too slowly, and the packet got too old. Counted
        /// among the sent ones too, since it was taken when it came.
        TcpSlow = "tcp_slow",
    }
}

impl From<TokenError> for DropReason {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Shape => Self::TokenShape,
            TokenError::Version => Self::TokenVersion,
            TokenError::UnknownKey => Self::TokenUnknownKey,
            TokenError::Tag => Self::TokenTag,
            TokenError::Expired => Self::TokenExpired,
        }
    }
}

impl From<HopError> for DropReason {
    fn from(error: HopError) -> Self {
        match error {
            HopError::Malformed => Self::HopMalformed,
            HopError::UnknownKey => Self::HopUnknownKey,
            HopError::Mac => Self::HopMac,
            HopError::Tick => Self::HopTick,
        }
    }
}
