// An echo of calls on one UDP port, built with Pion: what `firsthop transceiver` is measured beside.
//
//	media-pion --listen IP:port --http IP:port --mode pcm|pass
//
// POST /whip takes an SDP offer, and answers 201 and the answer; DELETE of its Location hangs up.
// It prints `ready`, and then a JSON object per line: of each call when ICE, DTLS and the data
// channel were there, and when the first packet came, as Unix time and since the offer.
//
// Of Pion's interceptors it has the RTCP reports only: audio needs no others, and each costs.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"
)

const (
	bufferBytes = 4 << 20
	offerBytes  = 64 << 10
)

var roles = map[string]webrtc.DTLSRole{
	"active":  webrtc.DTLSRoleClient,
	"passive": webrtc.DTLSRoleServer,
}

var opus = webrtc.RTPCodecCapability{
	MimeType: webrtc.MimeTypeOpus, ClockRate: sampleRate, Channels: 2,
	SDPFmtpLine: "minptime=10;useinbandfec=1",
}

func main() {
	listen := flag.String("listen", "", "UDP address of all calls, `IP:port`")
	web := flag.String("http", "", "HTTP address, `IP:port`")
	mode := flag.String("mode", "pass", "pcm: decode and encode; pass: packets as they are")
	role := flag.String("role", "active", "of DTLS: active or passive")
	var encoding Encoding
	flag.IntVar(&encoding.Bitrate, "bitrate", 32_000, "of the encoder, in bit/s")
	flag.IntVar(&encoding.Complexity, "complexity", 5, "of the encoder, 0 to 10")
	flag.IntVar(&encoding.ExpectedLoss, "expected-loss", 0, "in percent; above 0, with FEC")
	flag.Parse()
	dtls, known := roles[*role]
	if (*mode != "pcm" && *mode != "pass") || !known || *listen == "" || *web == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := serve(*listen, *web, dtls, *mode, encoding); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(listen, web string, role webrtc.DTLSRole, mode string, encoding Encoding) error {
	api, err := newAPI(listen, role)
	if err != nil {
		return err
	}
	server := &server{api: api, mode: mode, encoding: encoding, calls: map[int]*call{}}
	http.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("POST /whip", server.place)
	http.HandleFunc("DELETE /whip/{id}", server.hangUp)
	listener, err := net.Listen("tcp", web)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	say(map[string]any{"libopus": OpusVersion()})
	return http.Serve(listener, nil)
}

func newAPI(listen string, role webrtc.DTLSRole) (*webrtc.API, error) {
	address, err := net.ResolveUDPAddr("udp4", listen)
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenUDP("udp4", address)
	if err != nil {
		return nil, err
	}
	// As much as the kernel grants: a burst of a thousand calls waits here.
	if err := errors.Join(socket.SetReadBuffer(bufferBytes), socket.SetWriteBuffer(bufferBytes)); err != nil {
		return nil, err
	}
	var engine webrtc.SettingEngine
	engine.SetICEUDPMux(webrtc.NewICEUDPMux(nil, socket))
	engine.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	engine.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	engine.SetIPFilter(func(ip net.IP) bool { return ip.Equal(address.IP) })
	engine.SetIncludeLoopbackCandidate(true)
	if err := engine.SetAnsweringDTLSRole(role); err != nil {
		return nil, err
	}
	media, interceptors := &webrtc.MediaEngine{}, &interceptor.Registry{}
	codec := webrtc.RTPCodecParameters{RTPCodecCapability: opus, PayloadType: 111}
	if err := errors.Join(
		media.RegisterCodec(codec, webrtc.RTPCodecTypeAudio),
		webrtc.ConfigureRTCPReports(interceptors),
	); err != nil {
		return nil, err
	}
	return webrtc.NewAPI(
		webrtc.WithSettingEngine(engine),
		webrtc.WithMediaEngine(media),
		webrtc.WithInterceptorRegistry(interceptors),
	), nil
}

type server struct {
	api      *webrtc.API
	mode     string
	encoding Encoding

	mu    sync.Mutex
	made  int
	calls map[int]*call
}

func (s *server) place(response http.ResponseWriter, request *http.Request) {
	offer, err := io.ReadAll(http.MaxBytesReader(response, request.Body, offerBytes))
	if err != nil {
		http.Error(response, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	s.mu.Lock()
	s.made++
	id := s.made
	s.mu.Unlock()
	answer, err := s.answer(id, string(offer))
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	response.Header().Set("Content-Type", "application/sdp")
	response.Header().Set("Location", fmt.Sprintf("/whip/%d", id))
	response.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(response, answer)
}

func (s *server) hangUp(response http.ResponseWriter, request *http.Request) {
	id, err := strconv.Atoi(strings.TrimSpace(request.PathValue("id")))
	s.mu.Lock()
	call := s.calls[id]
	s.mu.Unlock()
	if err != nil || call == nil {
		http.NotFound(response, request)
		return
	}
	call.end()
}

func (s *server) forget(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, id)
}

var output sync.Mutex

// say prints a line of JSON.
func say(what map[string]any) {
	line, err := json.Marshal(what)
	if err != nil {
		return
	}
	output.Lock()
	defer output.Unlock()
	_, _ = os.Stdout.Write(append(line, '\n'))
}
