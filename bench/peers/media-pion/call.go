package main

import (
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"
)

// call is one connection, from its offer until `end`.
type call struct {
	id      int
	server  *server
	offered time.Time
	peer    *webrtc.PeerConnection
	heard   sync.Once
	ended   sync.Once
}

// answer takes an offer, and returns the answer with its candidate.
func (s *server) answer(id int, offer string) (string, error) {
	c := &call{id: id, server: s, offered: time.Now()}
	peer, err := s.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return "", err
	}
	c.peer = peer
	s.mu.Lock()
	s.calls[id] = c
	s.mu.Unlock()
	answer, err := c.negotiate(offer)
	if err != nil {
		c.end()
		return "", err
	}
	return answer, nil
}

func (c *call) negotiate(offer string) (string, error) {
	local, err := webrtc.NewTrackLocalStaticRTP(opus, "echo", "echo")
	if err != nil {
		return "", err
	}
	c.listen(local)
	description := webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}
	if err := c.peer.SetRemoteDescription(description); err != nil {
		return "", err
	}
	sender, err := c.peer.AddTrack(local)
	if err != nil {
		return "", err
	}
	go drain(sender)
	answer, err := c.peer.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(c.peer)
	if err := c.peer.SetLocalDescription(answer); err != nil {
		return "", err
	}
	<-gathered
	return c.peer.LocalDescription().SDP, nil
}

// listen has the connection tell what becomes of it, and its sound sent back.
func (c *call) listen(local *webrtc.TrackLocalStaticRTP) {
	c.peer.OnICEConnectionStateChange(func(state webrtc.ICEConnectionState) {
		if state == webrtc.ICEConnectionStateConnected {
			c.tell("ice")
		}
	})
	c.peer.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		switch state {
		case webrtc.PeerConnectionStateConnected:
			c.tell("dtls")
		case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
			// Not from within: closing waits for what is told here.
			go c.end()
		}
	})
	c.peer.OnDataChannel(func(channel *webrtc.DataChannel) {
		channel.OnOpen(func() { c.tell("channel") })
	})
	c.peer.OnTrack(func(remote *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
		go drain(receiver)
		heard := func() { c.heard.Do(func() { c.tell("audio") }) }
		if c.server.mode == "pcm" {
			_ = parrot(remote, local, c.server.encoding, heard)
		} else {
			_ = mirror(remote, local, heard)
		}
	})
}

// tell prints when a stage was reached.
func (c *call) tell(stage string) {
	now := time.Now()
	say(map[string]any{
		"call":  c.id,
		"stage": stage,
		"at_s":  float64(now.UnixNano()) / 1e9,
		"ms":    float64(now.Sub(c.offered)) / float64(time.Millisecond),
	})
}

func (c *call) end() {
	c.ended.Do(func() {
		_ = c.peer.Close()
		c.server.forget(c.id)
	})
}

type reportReader interface {
	Read(buffer []byte) (int, interceptor.Attributes, error)
}

// drain reads reports, which interceptors see only then.
func drain(reports reportReader) {
	buffer := make([]byte, packetBytes)
	for {
		if _, _, err := reports.Read(buffer); err != nil {
			return
		}
	}
}
