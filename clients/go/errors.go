package graphpipe

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"
)

// The kinds of errors, for errors.Is. An ErrBusy is an ErrUnavailable too.
var (
	// ErrInvalidInput: the request does not fit the model, or cannot be sent.
	ErrInvalidInput = errors.New("invalid input")
	// ErrNotFound: the server has no such model, version or path.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable: no connection, one that was lost, or a server that is shutting down.
	ErrUnavailable = errors.New("unavailable")
	// ErrBusy: the server has no room now; the request was not run, and may be sent again later.
	ErrBusy = errors.New("busy")
	// ErrDeadlineExceeded: the time for the call is over.
	ErrDeadlineExceeded = errors.New("deadline exceeded")
	// ErrModel: the model or the server failed on a valid request.
	ErrModel = errors.New("the model failed")
	// ErrProtocol: the answer is not GraphPipe's, or is broken.
	ErrProtocol = errors.New("broken answer")
	// ErrRefused: any other refusal of the server.
	ErrRefused = errors.New("refused")
)

// Error is what calls return. Its text is one line; from a server, the server's own words.
type Error struct {
	Kind error
	// Code is the number of the error in docs/protocol.md; 0 if the server did not say, or the
	// failure is on this side.
	Code    int
	Message string
	// Err is what lies behind it, if anything.
	Err error
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Err }

// Is tells whether an error is of this kind.
func (e *Error) Is(target error) bool {
	return target == e.Kind || (target == ErrUnavailable && e.Kind == ErrBusy)
}

// Errorf makes an error of a kind, as functions that are served return it to refuse a request.
func Errorf(kind error, format string, arguments ...any) *Error {
	return &Error{Kind: kind, Message: oneLine(fmt.Sprintf(format, arguments...))}
}

// What the numbers and HTTP statuses of docs/protocol.md mean. The first number of a kind is the
// one that a Handler sends.
var kinds = []struct {
	kind     error
	codes    []int
	statuses []int
}{
	{ErrInvalidInput, []int{1, 2, 7, 8}, []int{400, 413, 431}},
	{ErrNotFound, []int{4}, []int{404}},
	{ErrDeadlineExceeded, []int{16, 6}, []int{504, 408}},
	{ErrModel, []int{10, 9, 11}, []int{500, 501}},
	{ErrBusy, []int{13, 14}, []int{503, 429}},
	{ErrUnavailable, []int{15, 12}, []int{503, 502}},
}

// refusal is the error for an answer with this HTTP status, and the code and words of its body.
func refusal(status int, code int64, text string) *Error {
	refused := &Error{Kind: kindOf(status, code), Message: oneLine(text)}
	if code > 0 && code < 1<<31 {
		refused.Code = int(code)
	}
	if refused.Message == "" {
		refused.Message = fmt.Sprintf("HTTP %d, without a reason", status)
	}
	return refused
}

func kindOf(status int, code int64) error {
	for _, k := range kinds {
		for _, known := range k.codes {
			if code == int64(known) {
				return k.kind
			}
		}
	}
	if status == http.StatusServiceUnavailable {
		return ErrUnavailable // it may have begun; only a code says that it is busy
	}
	for _, k := range kinds {
		for _, known := range k.statuses {
			if status == known {
				return k.kind
			}
		}
	}
	return ErrRefused
}

const maxCharacters = 500

// oneLine is somebody else's text as one line of visible characters.
func oneLine(text string) string {
	var line strings.Builder
	n := 0
	for _, c := range strings.TrimSpace(text) {
		if n++; n > maxCharacters {
			break
		}
		switch {
		case unicode.IsPrint(c):
			line.WriteRune(c)
		case unicode.IsSpace(c):
			line.WriteByte(' ')
		default:
			quoted := strconv.QuoteRuneToASCII(c)
			line.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return line.String()
}
