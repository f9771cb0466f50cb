// A relay in Go, built as the relay that OpenAI has published a description of: SO_REUSEPORT,
// goroutines locked to their threads, buffers allocated beforehand, and the UDP calls of the
// standard library. Our reading of a description, not their code.
//
//	go-relay LISTEN UPSTREAM OWNER...      each as ip:port
//
// A client's first packet makes its flow, which goes to the owners in turn. The header has the
// size and layout of firsthop's hop header; its MAC is left zero and is not checked.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
)

const (
	headerBytes = 24
	packetBytes = 2048
	bufferBytes = 4 << 20
	// The syscall package has no name for it on every architecture.
	soReusePort = 15
)

type flow struct {
	owner  netip.AddrPort
	header [headerBytes]byte
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: go-relay LISTEN UPSTREAM OWNER...")
		os.Exit(2)
	}
	public, upstream := listen(os.Args[1]), listen(os.Args[2])
	var owners []netip.AddrPort
	for _, owner := range os.Args[3:] {
		owners = append(owners, netip.MustParseAddrPort(owner))
	}
	go down(public, upstream)
	fmt.Println("ready")
	up(public, upstream, owners)
}

func listen(address string) *net.UDPConn {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var problem error
		err := raw.Control(func(fd uintptr) {
			problem = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1)
		})
		if err != nil {
			return err
		}
		return problem
	}}
	conn, err := config.ListenPacket(context.Background(), "udp4", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	udp := conn.(*net.UDPConn)
	// Best effort: the kernel caps both.
	_ = udp.SetReadBuffer(bufferBytes)
	_ = udp.SetWriteBuffer(bufferBytes)
	return udp
}

func up(public, upstream *net.UDPConn, owners []netip.AddrPort) {
	runtime.LockOSThread()
	flows := make(map[netip.AddrPort]*flow)
	buffer := make([]byte, headerBytes+packetBytes)
	for {
		length, client, err := public.ReadFromUDPAddrPort(buffer[headerBytes:])
		if err != nil {
			continue
		}
		known := flows[client]
		if known == nil {
			known = newFlow(client, owners[len(flows)%len(owners)])
			flows[client] = known
		}
		copy(buffer, known.header[:])
		binary.BigEndian.PutUint16(buffer[10:], uint16(length))
		// What cannot be sent is dropped, as by any relay.
		_, _ = upstream.WriteToUDPAddrPort(buffer[:headerBytes+length], known.owner)
	}
}

func down(public, upstream *net.UDPConn) {
	runtime.LockOSThread()
	buffer := make([]byte, headerBytes+packetBytes)
	for {
		length, _, err := upstream.ReadFromUDPAddrPort(buffer)
		if err != nil || length <= headerBytes {
			continue
		}
		ip := netip.AddrFrom4([4]byte(buffer[12:16]))
		client := netip.AddrPortFrom(ip, binary.BigEndian.Uint16(buffer[6:]))
		_, _ = public.WriteToUDPAddrPort(buffer[headerBytes:length], client)
	}
}

func newFlow(client, owner netip.AddrPort) *flow {
	made := &flow{owner: owner}
	made.header[0], made.header[1], made.header[3] = 0xE5, 1<<5, 3
	binary.BigEndian.PutUint16(made.header[6:], client.Port())
	ip := client.Addr().Unmap().As4()
	copy(made.header[12:16], ip[:])
	return made
}
