package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestOutletToFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o := openOutlet(f, func(e syscall.Errno) { t.Error(e) })
	o.write([]byte("one\n"))
	o.write([]byte("two\n"))
	if got, err := os.ReadFile(f.Name()); err != nil || string(got) != "one\ntwo\n" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if openOutlet(null, nil) != nil {
		t.Error("a device became an outlet: it may block for ever")
	}
}

func pipeOutlet(t *testing.T) (r *os.File, o *outlet, broken chan syscall.Errno) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	broken = make(chan syscall.Errno, 1)
	if o = openOutlet(w, func(e syscall.Errno) { broken <- e }); o == nil {
		t.Skip("this system cannot open a pipe once more: output travels in frames")
	}
	w.Close()
	return r, o, broken
}

func TestStalledReaderOfOutletIsLeft(t *testing.T) {
	_, o, broken := pipeOutlet(t)
	written := make(chan struct{})
	go func() {
		defer close(written)
		o.write(bytes.Repeat([]byte("x"), 4<<20)) // more than any pipe holds
	}()
	o.close()
	<-written
	o.write([]byte("dropped"))
	if len(broken) > 0 {
		t.Errorf("reported broken: %v", <-broken)
	}
}

func TestOutletReportsBrokenPipe(t *testing.T) {
	r, o, broken := pipeOutlet(t)
	r.Close()
	o.write([]byte("x\n"))
	o.write([]byte("y\n"))
	if e := <-broken; e != syscall.EPIPE || len(broken) > 0 {
		t.Errorf("got %v, and %d more", e, len(broken))
	}
}
