package main

/*
#cgo pkg-config: opus
#include <opus.h>

// cgo cannot call functions with a variable number of arguments.
static int set(OpusEncoder *encoder, int request, opus_int32 value) {
	return opus_encoder_ctl(encoder, request, value);
}
*/
import "C"

import (
	"fmt"
	"unsafe"
)

const (
	sampleRate   = 48_000
	frameSamples = sampleRate / 50
	// 120 ms, the longest packet (RFC 6716 section 2.1.4).
	longestSamples = sampleRate / 1000 * 120
	packetBytes    = 1275
)

// Encoding is what the encoder is told.
type Encoding struct {
	Bitrate      int
	Complexity   int
	ExpectedLoss int
}

// Decoder makes 48 kHz mono of Opus. Release it with Close.
type Decoder struct {
	state *C.OpusDecoder
	pcm   [longestSamples]int16
}

// NewDecoder allocates one.
func NewDecoder() (*Decoder, error) {
	var failure C.int
	state := C.opus_decoder_create(sampleRate, 1, &failure)
	if failure != C.OPUS_OK {
		return nil, opusError(failure)
	}
	return &Decoder{state: state}, nil
}

// Decode returns samples that are good until the next call.
func (d *Decoder) Decode(payload []byte) ([]int16, error) {
	if len(payload) == 0 {
		return nil, nil
	}
	samples := C.opus_decode(
		d.state,
		(*C.uchar)(unsafe.Pointer(&payload[0])), C.opus_int32(len(payload)),
		(*C.opus_int16)(unsafe.Pointer(&d.pcm[0])), longestSamples, 0,
	)
	if samples < 0 {
		return nil, opusError(samples)
	}
	return d.pcm[:samples], nil
}

// Close frees it.
func (d *Decoder) Close() { C.opus_decoder_destroy(d.state) }

// Encoder makes Opus of 20 ms frames of 48 kHz mono. Release it with Close.
type Encoder struct {
	state   *C.OpusEncoder
	payload [packetBytes]byte
}

// NewEncoder allocates one. Expected loss above 0 switches in-band FEC on.
func NewEncoder(encoding Encoding) (*Encoder, error) {
	var failure C.int
	state := C.opus_encoder_create(sampleRate, 1, C.OPUS_APPLICATION_VOIP, &failure)
	if failure != C.OPUS_OK {
		return nil, opusError(failure)
	}
	fec := 0
	if encoding.ExpectedLoss > 0 {
		fec = 1
	}
	for _, setting := range [][2]int{
		{C.OPUS_SET_BITRATE_REQUEST, encoding.Bitrate},
		{C.OPUS_SET_COMPLEXITY_REQUEST, encoding.Complexity},
		{C.OPUS_SET_INBAND_FEC_REQUEST, fec},
		{C.OPUS_SET_PACKET_LOSS_PERC_REQUEST, encoding.ExpectedLoss},
	} {
		if code := C.set(state, C.int(setting[0]), C.opus_int32(setting[1])); code != C.OPUS_OK {
			C.opus_encoder_destroy(state)
			return nil, opusError(code)
		}
	}
	return &Encoder{state: state}, nil
}

// Encode returns a payload that is good until the next call.
func (e *Encoder) Encode(frame *[frameSamples]int16) ([]byte, error) {
	bytes := C.opus_encode(
		e.state,
		(*C.opus_int16)(unsafe.Pointer(&frame[0])), frameSamples,
		(*C.uchar)(unsafe.Pointer(&e.payload[0])), packetBytes,
	)
	if bytes < 0 {
		return nil, opusError(C.int(bytes))
	}
	return e.payload[:bytes], nil
}

// Close frees it.
func (e *Encoder) Close() { C.opus_encoder_destroy(e.state) }

// OpusVersion is libopus's own.
func OpusVersion() string { return C.GoString(C.opus_get_version_string()) }

func opusError(code C.int) error { return fmt.Errorf("libopus: %s", C.GoString(C.opus_strerror(code))) }
