package graphpipe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"syscall"
	"time"
)

// The transport is net/http's. What it lacks is in the connections that it is given:
//   - a request's parts are written from where they lie, by writev, instead of through a buffer;
//   - a write that fails does not end the call: a server may have refused the request before it had
//     read all of it, and its words matter more than the broken pipe;
//   - they tell whether a request that was lost can have been run. If it cannot, since the server
//     had closed the kept connection before it had received all of it, it is sent again.

const (
	connectTime = 5 * time.Second
	idleTime    = 60 * time.Second // less than the server's, which is 75 s
	maxIdle     = 256
	maxHead     = 64 << 10
)

func newTransport(socket string, config *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: connectTime}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			if socket != "" {
				network, to = "unix", socket
			}
			conn, err := dialer.DialContext(ctx, network, to)
			if err != nil {
				return nil, err
			}
			return &connection{Conn: conn}, nil
		},
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    connectTime,
		DisableCompression:     true,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTime,
		MaxResponseHeaderBytes: maxHead,
		WriteBufferSize:        16 << 10,
		ReadBufferSize:         16 << 10,
	}
}

// --- an exchange --------------------------------------------------------------------------

// trip is one sending of a request.
type trip struct {
	body        *body
	conn        *connection
	isConnected bool
	isReused    bool
	nRead       int64 // on the connection, before
}

func (t *trip) gotConn(info httptrace.GotConnInfo) {
	t.isConnected, t.isReused = true, info.Reused
	conn := info.Conn
	if over, ok := conn.(*tls.Conn); ok {
		conn = over.NetConn()
	}
	if t.conn, _ = conn.(*connection); t.conn != nil {
		t.nRead = t.conn.nRead.Load()
	}
}

func (t *trip) isAnswered() bool {
	return t.conn != nil && t.conn.nRead.Load() > t.nRead
}

// cannotHaveRun is true if the server has certainly not received the whole request: not all was
// written, or its kernel has not acknowledged it, or says that bytes were unread when it was closed.
func (t *trip) cannotHaveRun() bool {
	if t.conn == nil {
		return false
	}
	if t.body.left > 0 || t.conn.isBroken.Load() || t.conn.lacksSome.Load() {
		return true
	}
	_, isUnix := t.conn.Conn.(*net.UnixConn)
	return isUnix && t.conn.wasReset.Load()
}

// send sends a request and gives the head of its answer, whatever its HTTP status, and what has to
// be waited for before the parts may change.
func (c *Client) send(ctx context.Context, parts [][]byte) (*http.Response, *trip, error) {
	for {
		t := &trip{body: newBody(parts)}
		request := c.request(ctx, t)
		request.GetBody = func() (io.ReadCloser, error) {
			t.body = newBody(parts)
			return t.body, nil
		}
		answer, err := c.transport.RoundTrip(request)
		if err == nil {
			return answer, t, nil
		}
		<-t.body.closed
		if ctx.Err() != nil || !t.isReused || t.isAnswered() || !t.cannotHaveRun() {
			return nil, t, c.failure(ctx, t, err)
		}
		// the others are as old as this one
		if own, ok := c.transport.(*http.Transport); ok {
			own.CloseIdleConnections()
		}
	}
}

func (c *Client) request(ctx context.Context, t *trip) *http.Request {
	header := c.header.Clone()
	if deadline, ok := ctx.Deadline(); ok {
		left := (time.Until(deadline) + time.Millisecond - 1).Milliseconds()
		left = min(max(left, 1), 1<<32-1)
		header.Set("X-GraphPipe-Timeout-Ms", strconv.FormatInt(left, 10))
	}
	request := &http.Request{Method: http.MethodPost, URL: &c.address.url, Host: c.address.url.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header, Body: t.body,
		ContentLength: t.body.left}
	trace := &httptrace.ClientTrace{GotConn: t.gotConn}
	return request.WithContext(httptrace.WithClientTrace(ctx, trace))
}

// failure says why there is no answer.
func (c *Client) failure(ctx context.Context, t *trip, err error) error {
	label := c.address.label
	isLost := isLost(err) || (t.conn != nil && t.conn.hasEnded.Load()) // in the middle of a line
	fail := func(kind error, format string, arguments ...any) error {
		failed := Errorf(kind, "%s: %s", label, fmt.Sprintf(format, arguments...))
		failed.Err = err
		return failed
	}
	switch why := ctx.Err(); {
	case errors.Is(why, context.DeadlineExceeded):
		err = why
		return fail(ErrDeadlineExceeded, "the time is up")
	case why != nil:
		err = why
		return fail(context.Canceled, "the call was cancelled")
	case !t.isConnected:
		why := err
		if failed := (*net.OpError)(nil); errors.As(err, &failed) {
			why = failed.Err // without the address, which the label has
		}
		return fail(ErrUnavailable, "cannot connect: %v", why)
	case t.isAnswered() && isLost:
		return fail(ErrUnavailable, "the connection ended in the middle of the answer")
	case t.isAnswered():
		return fail(ErrProtocol, "answer: %v", err)
	case isLost || t.conn != nil:
		return fail(ErrUnavailable, "the server closed the connection without an answer")
	}
	return fail(ErrUnavailable, "%v", err)
}

func isLost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, net.ErrClosed)
}
