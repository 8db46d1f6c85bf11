package graphpipe

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The limits of a message, of docs/protocol.md.
const (
	maxMessageBytes = 1<<31 - 1
	maxTensors      = 4096
	maxRank         = 32
	maxNameBytes    = 64 << 10

	mediaType = "application/x-graphpipe"
)

// Request is what a model is asked.
type Request struct {
	// InputNames has a name for each input; none: they are the model's inputs in order.
	InputNames []string
	Inputs     []Tensor
	// OutputNames are the outputs that are wanted, in order; none: all.
	OutputNames []string
	// Config is passed to the model as it is.
	Config string
}

// IO is an input or output of a model. In Shape -1 is any size; Type is Null for any.
type IO struct {
	Name        string  `json:"name"`
	Description string  `json:"description,omitempty"`
	Type        Type    `json:"type"`
	Shape       []int64 `json:"shape"`
}

func (io IO) String() string {
	return oneLine(io.Name) + " " + shapeText(io.Type, io.Shape)
}

// Metadata is what a server says of a model. String is a table for people.
type Metadata struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Server      string `json:"server"`
	Description string `json:"description"`
	Inputs      []IO   `json:"inputs"`
	Outputs     []IO   `json:"outputs"`
}

func (m *Metadata) String() string {
	var table strings.Builder
	for _, row := range [][2]string{{"name", m.Name}, {"version", m.Version},
		{"server", m.Server}, {"description", m.Description}} {
		if row[1] != "" {
			fmt.Fprintf(&table, "%-13s%s\n", row[0], oneLine(row[1]))
		}
	}
	for title, ios := range [][]IO{m.Inputs, m.Outputs} {
		table.WriteString([]string{"inputs", "outputs"}[title])
		for _, io := range ios {
			table.WriteString("\n  " + io.String())
		}
		table.WriteString("\n")
	}
	return strings.TrimSuffix(table.String(), "\n")
}

// MarshalText gives the type's name, for JSON.
func (t Type) MarshalText() ([]byte, error) {
	return []byte(t.String()), nil
}

func checkName(name string) error {
	switch {
	case len(name) > maxNameBytes:
		return Errorf(ErrInvalidInput, "a name has %d bytes; the limit is %d", len(name),
			maxNameBytes)
	case !utf8.ValidString(name):
		return Errorf(ErrInvalidInput, "the name %q is not UTF-8", name)
	case strings.IndexByte(name, 0) >= 0:
		return Errorf(ErrInvalidInput, "the name %q has a NUL", name)
	}
	return nil
}
