//! Nothing but a token that we sealed leads anywhere, and only where its cluster allows.

mod common;

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use common::*;
use firsthop_relay::DropReason;
use firsthop_wire::token::{self, Claims, Owner, TokenKeys};

const TOKEN_REASONS: [DropReason; 5] = [
    DropReason::TokenShape,
    DropReason::TokenVersion,
    DropReason::TokenUnknownKey,
    DropReason::TokenTag,
    DropReason::TokenExpired,
];

#[test]
fn every_single_bit_flip_of_a_token_is_refused() {
    let mut scene = Scene::new();
    let ufrag = ufrag(owner());
    let token = STANDARD_NO_PAD.decode(&ufrag).unwrap();
    for bit in 0..token.len() * 8 {
        let mut forged = token.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let reason = scene.routed(client(), &binding_request(&STANDARD_NO_PAD.encode(&forged)));
        assert!(TOKEN_REASONS.contains(&reason.unwrap_err()), "bit {bit}");
    }
    for bit in 0..ufrag.len() * 8 {
        let mut forged = ufrag.clone().into_bytes();
        forged[bit / 8] ^= 1 << (bit % 8);
        let username = [&forged[..], b":clnt"].concat();
        let reason = scene.routed(client(), &stun(0x0001, Some(&username)));
        assert!(TOKEN_REASONS.contains(&reason.unwrap_err()), "bit {bit}");
    }
    assert_eq!(
        scene.routed(client(), &binding_request(&ufrag)),
        Ok(owner()),
        "the true one"
    );
}

#[test]
fn a_hundred_thousand_random_tokens_lead_nowhere() {
    let mut scene = Scene::new();
    let mut random = Random(0x1234_5678_9ABC_DEF1);
    let mut token = [0; token::TOKEN_LEN];
    for round in 0..100_000 {
        random.fill(&mut token);
        if round % 2 == 0 {
            // Version 1, format 0, a key that exists: all that is left is the tag.
            token[0] = TOKEN_KEY << 5 | 1;
        }
        let forged = binding_request(&STANDARD_NO_PAD.encode(token));
        let reason = scene.routed(client(), &forged).unwrap_err();
        assert!(TOKEN_REASONS.contains(&reason));
    }
    assert!(scene.counters().dropped(DropReason::TokenTag) >= 50_000);
}

#[test]
fn usernames_of_every_other_shape_are_refused() {
    let mut scene = Scene::new();
    let valid = ufrag(owner());
    let cases: [(Option<String>, DropReason); 7] = [
        (None, DropReason::StunUsername),
        (Some(valid.clone()), DropReason::StunUsername),
        (Some(String::new()), DropReason::StunUsername),
        (Some(":clnt".to_owned()), DropReason::TokenShape),
        (Some(format!("clnt:{valid}")), DropReason::TokenShape),
        (Some(format!("{valid}=:clnt")), DropReason::TokenShape),
        (Some("x".repeat(200)), DropReason::StunMalformed),
    ];
    scene.establish(client(), owner());
    for (username, reason) in cases {
        let request = stun(0x0001, username.as_deref().map(str::as_bytes));
        // With a flow or without: a binding request never follows the flow.
        assert_eq!(
            scene.routed(client(), &request),
            Err(reason),
            "{username:?}"
        );
        assert_eq!(
            scene.routed(address("203.0.113.4:9"), &request),
            Err(reason),
            "{username:?}"
        );
    }
}

#[test]
fn a_sealed_token_that_leads_outside_its_cluster_is_refused() {
    let mut scene = Scene::new();
    let expiry_slot = token::slot_at(START_UNIX + 3600);
    let mut lead = |cluster, owner| {
        let claims = Claims {
            cluster,
            owner,
            expiry_slot,
        };
        let ufrag = token_keys().seal(TOKEN_KEY, &claims, [0; 6]).unwrap();
        scene.routed(client(), &binding_request(&ufrag))
    };
    let v4 = |text: &str| Owner::V4(text.parse().unwrap());
    assert_eq!(lead(CLUSTER, v4("10.1.0.5:4000")), Ok(owner()));
    assert_eq!(
        lead(CLUSTER + 1, v4("10.1.0.5:4000")),
        Err(DropReason::UnknownCluster)
    );
    assert_eq!(
        lead(CLUSTER, v4("10.2.0.5:4000")),
        Err(DropReason::OwnerNotAllowed)
    );
    assert_eq!(
        lead(CLUSTER, v4("127.0.0.1:4000")),
        Err(DropReason::OwnerNotAllowed)
    );
    assert_eq!(
        lead(CLUSTER, v4("10.1.0.5:22")),
        Err(DropReason::OwnerNotAllowed)
    );
    assert_eq!(
        lead(
            CLUSTER,
            Owner::V6 {
                interface_id: 1,
                port: 53
            }
        ),
        Err(DropReason::OwnerNotAllowed)
    );
}

#[test]
fn a_replayed_token_is_refused_after_its_slot() {
    let mut scene = Scene::new();
    let request = binding_request(&ufrag(owner()));
    let mut refused_after = None;
    for minute in 0..26 * 60 {
        scene.now.unix_seconds = START_UNIX + minute * 60;
        match scene.routed(client(), &request) {
            Ok(_) => assert_eq!(refused_after, None, "good again after {minute} minutes"),
            Err(reason) => {
                assert_eq!(reason, DropReason::TokenExpired);
                refused_after.get_or_insert(minute);
            }
        }
    }
    // An hour, the rest of its slot, and one slot of skew.
    assert!(
        (60..=90).contains(&refused_after.unwrap()),
        "{refused_after:?}"
    );
}

#[test]
fn a_token_under_a_key_that_the_relay_lacks_is_refused() {
    let mut keys = TokenKeys::default();
    keys.insert(0, &[0x5A; token::MASTER_LEN]);
    keys.insert(TOKEN_KEY, &[0x5B; token::MASTER_LEN]);
    let SocketAddr::V4(address) = owner() else {
        unreachable!("an IPv4 owner")
    };
    let expiry_slot = token::slot_at(START_UNIX + 3600);
    let claims = Claims {
        cluster: CLUSTER,
        owner: Owner::V4(address),
        expiry_slot,
    };
    let mut scene = Scene::new();
    for (id, reason) in [
        (0, DropReason::TokenUnknownKey),
        (TOKEN_KEY, DropReason::TokenTag),
    ] {
        let ufrag = keys.seal(id, &claims, [0; 6]).unwrap();
        assert_eq!(
            scene.routed(client(), &binding_request(&ufrag)),
            Err(reason)
        );
    }
}
