package graphpipe

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A server that does what a test says, byte by byte, to see what the client makes of it.

const patience = 60 * time.Second // what only a hang takes

func answerOf(body []byte, status, kind string) []byte {
	head := fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", status, kind,
		len(body))
	return append([]byte(head), body...)
}

func good(body []byte) []byte { return answerOf(body, "200 OK", mediaType) }

// peer is an accepted connection, as a script sees it.
type peer struct {
	net.Conn
	server *scripted
	in     *bufio.Reader
	left   int64
}

// head reads a request's head; false at the end of the connection.
func (p *peer) head() bool {
	request, err := http.ReadRequest(p.in)
	if err != nil {
		return false
	}
	p.left = request.ContentLength
	p.server.note(request.Header)
	return true
}

// request reads a whole request; false at the end of the connection.
func (p *peer) request() bool {
	if !p.head() {
		return false
	}
	if _, err := io.CopyN(io.Discard, p.in, p.left); err != nil {
		return false
	}
	p.server.count()
	return true
}

// send sends; a client that has seen enough is no fault.
func (p *peer) send(pieces ...[]byte) {
	for _, piece := range pieces {
		if _, err := p.Write(piece); err != nil {
			return
		}
	}
}

func (p *peer) untilClosed() { _, _ = io.Copy(io.Discard, p.in) }

// close closes; with bytes that were not read, a reset.
func (p *peer) close() { _ = p.Close() }

type script func(*peer)

func always(pieces ...[]byte) script {
	return func(p *peer) {
		for p.request() {
			p.send(pieces...)
		}
	}
}

func once(pieces ...[]byte) script {
	return func(p *peer) {
		p.request()
		p.send(pieces...)
	}
}

// scripted runs a script for each connection, one after the other, and closes it then.
type scripted struct {
	address string
	closed  []chan struct{}

	mu        sync.Mutex
	nRequests int
	headers   []http.Header
}

func (s *scripted) note(header http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.headers = append(s.headers, header)
}

func (s *scripted) header(i int) http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.headers[i]
}

func (s *scripted) count() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nRequests++
}

func (s *scripted) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nRequests
}

// serve starts a scripted server, over "tcp" or "unix".
func serve(t *testing.T, network string, scripts ...script) *scripted {
	t.Helper()
	at := "127.0.0.1:0"
	if network == "unix" {
		at = filepath.Join(t.TempDir(), "socket")
	}
	listener, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{address: "http://" + listener.Addr().String()}
	if network == "unix" {
		s.address = "unix:" + at
	}
	for range scripts {
		s.closed = append(s.closed, make(chan struct{}))
	}
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		for i, run := range scripts {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			p := &peer{Conn: conn, server: s, in: bufio.NewReader(conn)}
			run(p)
			p.close()
			close(s.closed[i])
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		done.Wait()
	})
	return s
}

func (s *scripted) client(t *testing.T, options ...Option) *Client {
	t.Helper()
	client, err := NewClient(s.address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// overBoth runs a test over TCP and over a unix socket.
func overBoth(t *testing.T, test func(t *testing.T, network string)) {
	for _, network := range []string{"tcp", "unix"} {
		network := network
		t.Run(network, func(t *testing.T) { test(t, network) })
	}
}

// chunked is an answer in chunks of these sizes, the last of which holds the rest.
func chunked(body []byte, sizes ...int) []byte {
	var out bytes.Buffer
	out.WriteString("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
	for _, size := range append(sizes, len(body)) {
		if piece := body[:min(size, len(body))]; len(piece) > 0 {
			body = body[len(piece):]
			out.WriteString(strconv.FormatInt(int64(len(piece)), 16) + ";a=b\r\n")
			out.Write(piece)
			out.WriteString("\r\n")
		}
	}
	out.WriteString("0\r\nTrailer: x\r\n\r\n")
	return out.Bytes()
}
