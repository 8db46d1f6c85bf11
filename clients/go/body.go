package graphpipe

import (
	"errors"
	"io"
)

// An announced length is believed to be this, or as many times as much as has come. Of what is larger
// the beginning is copied, once or twice.
const (
	firstBytes    = 64 << 10 // of one that is not announced
	believedBytes = 1 << 20
	believedTimes = 128
)

var errTooLarge = errors.New("too large")

// readBody reads a body into one block of memory that is aligned for all types. A length below 0
// is not known.
func readBody(from io.Reader, length, limit int64) ([]byte, error) {
	if length > limit {
		return nil, errTooLarge
	}
	room := min(length, believedBytes)
	if length < 0 {
		room = min(firstBytes, limit+1)
	}
	data, used := aligned(room), int64(0)
	for used != length {
		if used > limit {
			return nil, errTooLarge
		}
		if used == room {
			if length >= 0 {
				room = min(length, believedTimes*used)
			} else {
				room = min(2*used, limit+1)
			}
			larger := aligned(room)
			copy(larger, data)
			data = larger
		}
		n, err := from.Read(data[used:])
		used += int64(n)
		if err == io.EOF && length < 0 && used <= limit {
			break
		}
		if err == io.EOF && used < length {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
	}
	return data[:used], nil
}

func aligned(size int64) []byte {
	return bytesOf(make([]uint64, (size+7)/8))[:size:size]
}
