package main

import (
	"math/rand/v2"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

const (
	framePace = 20 * time.Millisecond
	// How long the first frame is kept: what is late by less leaves no gap.
	ahead = framePace
	// Frames that wait for their time at most; the newest is dropped then.
	queueFrames   = 25
	datagramBytes = 1500
)

// packets reads a track without an allocation per packet, as TrackRemote.ReadRTP would make.
type packets struct {
	track  *webrtc.TrackRemote
	buffer [datagramBytes]byte
	packet rtp.Packet
}

// next returns a packet that is good until the next call.
func (p *packets) next() (*rtp.Packet, error) {
	size, _, err := p.track.Read(p.buffer[:])
	if err != nil {
		return nil, err
	}
	return &p.packet, p.packet.Unmarshal(p.buffer[:size])
}

// mirror sends packets back as they are, under numbers of its own.
func mirror(remote *webrtc.TrackRemote, local *webrtc.TrackLocalStaticRTP, heard func()) error {
	numbers, clock := uint16(rand.Uint32()), rand.Uint32()
	packets := packets{track: remote}
	for {
		packet, err := packets.next()
		if err != nil {
			return err
		}
		heard()
		packet.SequenceNumber += numbers
		packet.Timestamp += clock
		packet.Extension, packet.Extensions, packet.CSRC = false, nil, nil
		if err := local.WriteRTP(packet); err != nil {
			return err
		}
	}
}

// parrot decodes what it hears, and says it again at its own pace.
func parrot(
	remote *webrtc.TrackRemote, local *webrtc.TrackLocalStaticRTP, encoding Encoding, heard func(),
) error {
	decoder, err := NewDecoder()
	if err != nil {
		return err
	}
	defer decoder.Close()
	frames := make(chan [frameSamples]int16, queueFrames)
	defer close(frames)
	go speak(frames, local, encoding)

	var part [frameSamples]int16
	filled := 0
	packets := packets{track: remote}
	for {
		packet, err := packets.next()
		if err != nil {
			return err
		}
		heard()
		pcm, err := decoder.Decode(packet.Payload)
		if err != nil {
			continue
		}
		for len(pcm) > 0 {
			copied := copy(part[filled:], pcm)
			pcm, filled = pcm[copied:], filled+copied
			if filled == frameSamples {
				filled = 0
				select {
				case frames <- part:
				default:
				}
			}
		}
	}
}

// speak encodes and sends a frame every 20 ms for as long as there are any. When it ran out of
// them it begins anew, as at the start.
func speak(
	frames <-chan [frameSamples]int16, local *webrtc.TrackLocalStaticRTP, encoding Encoding,
) {
	encoder, err := NewEncoder(encoding)
	if err != nil {
		say(map[string]any{"error": err.Error()})
		return
	}
	defer encoder.Close()
	packet := rtp.Packet{Header: rtp.Header{
		Version: 2, SequenceNumber: uint16(rand.Uint32()), Timestamp: rand.Uint32(),
	}}
	var due time.Time
	for {
		frame, open, late := next(frames, due)
		if !open {
			return
		}
		if late {
			due = time.Now().Add(ahead)
		}
		time.Sleep(time.Until(due))
		due = due.Add(framePace)
		payload, err := encoder.Encode(&frame)
		if err != nil {
			continue
		}
		packet.Payload = payload
		if local.WriteRTP(&packet) != nil {
			return
		}
		packet.SequenceNumber++
		packet.Timestamp += frameSamples
	}
}

// next waits for a frame, and tells whether it came when it should have been sent already.
func next(frames <-chan [frameSamples]int16, due time.Time) (frame [frameSamples]int16, open, late bool) {
	select {
	case frame, open = <-frames:
		return frame, open, due.IsZero()
	default:
		frame, open = <-frames
		return frame, open, time.Now().After(due)
	}
}
