//go:build linux

package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/pprun/pprun/comm/frame"
)

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func compress(t testing.TB, b []byte) []byte {
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	return e.EncodeAll(b, nil)
}

// sendChunks sends a zstd stream in small chunks.
func (l *launcher) sendChunks(id uint64, b []byte) {
	l.t.Helper()
	for {
		n := min(len(b), 10_000)
		var flags uint8
		if n < len(b) {
			flags = frame.More
		}
		if err := l.conn.Send(frame.Header{Kind: KindChunk, ID: id, Flags: flags}, b[:n]); err != nil {
			l.t.Fatal(err)
		}
		if b = b[n:]; len(b) == 0 {
			return
		}
	}
}

// stage announces a file, sends it if the agent wants it, and returns what became of it.
func (l *launcher) stage(id uint64, st Stage, stream []byte) (Staged, *Failure) {
	l.t.Helper()
	if err := l.conn.SendValue(frame.Header{Kind: KindStage, ID: id}, st); err != nil {
		l.t.Fatal(err)
	}
	var wanted bool
	l.wait("have, want or failure", func() bool {
		for _, h := range l.frames {
			if h.ID == id && h.Kind == KindWant {
				wanted = true
			}
			if h.ID == id && (h.Kind == KindWant || h.Kind == KindHave) || h.Kind == KindFailure {
				return true
			}
		}
		return false
	})
	if wanted {
		l.sendChunks(id, stream)
	}
	l.wait("staged or failure", func() bool { _, ok := l.staged[id]; return ok || len(l.fails) > 0 })
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.fails) > 0 {
		return Staged{}, &l.fails[0]
	}
	return l.staged[id], nil
}

func programStage(b []byte) Stage {
	return Stage{Program: true, Name: "prog", Digest: digestOf(b), Size: int64(len(b))}
}

// sameFiles fails if the cache holds more than the named entries.
func cacheHolds(t testing.TB, dir string, want ...string) {
	t.Helper()
	found, _ := filepath.Glob(dir + "/*/*")
	hidden, _ := filepath.Glob(dir + "/*/.*")
	rest, _ := filepath.Glob(dir + "/.*")
	found = append(append(found, hidden...), rest...)
	if strings.Join(found, " ") != strings.Join(want, " ") {
		t.Errorf("the cache holds %q, want %q", found, want)
	}
}

func TestStageAndRun(t *testing.T) {
	dir := t.TempDir()
	script := []byte("#!/bin/sh\necho \"$0 $@\"\ncat /proc/$$/comm\n")
	want := filepath.Join(dir, digestOf(script), "prog")
	for round, cached := range []bool{false, true, false} {
		if round == 2 { // a flipped byte: sent anew
			b := bytes.Clone(script)
			b[len(b)-2]++
			os.Chmod(want, 0o700)
			if err := os.WriteFile(want, b, 0o700); err != nil {
				t.Fatal(err)
			}
			os.Chmod(want, 0o500)
		}
		l := launchAgent(t, "PPRUN_CACHE="+dir)
		l.hello(time.Second)
		got, f := l.stage(1, programStage(script), compress(t, script))
		if f != nil || got != (Staged{Cached: cached, Path: want}) {
			t.Fatalf("round %d: %+v, %+v", round, got, f)
		}
		s := sh(2, "")
		s.Program, s.Args = Program{Stage: 1, Name: "./prog"}, []string{"a b", "", "\xff'\"$HOME\n"}
		l.start(s)
		l.exited(2)
		if got := l.out[1].String(); got != want+" a b  \xff'\"$HOME\n\nprog\n" {
			t.Errorf("round %d: printed %q", round, got)
		}
		l.bye()
		cacheHolds(t, dir, want)
	}
}

func TestStageRefuses(t *testing.T) {
	noise := make([]byte, 100_000)
	rand.New(rand.NewSource(1)).Read(noise)
	zeros := make([]byte, 1<<26)
	other := programStage(noise)
	other.Digest = digestOf(zeros)
	bomb := programStage(noise)
	long := programStage(append(bytes.Clone(noise), 0))
	for _, c := range []struct {
		name   string
		stage  Stage
		stream []byte
		want   string
	}{
		{"other digest", other, compress(t, noise), "sha256 mismatch: got " + digestOf(noise)},
		{"bomb", bomb, compress(t, zeros), "more than the announced 100000 bytes"},
		{"short", long, compress(t, noise), "100000 bytes arrived of the announced 100001"},
		{"cut", programStage(noise), compress(t, noise)[:50_000], "unexpected EOF"},
		{"no zstd", programStage(noise), noise, "magic number mismatch"},
		{"window", programStage(noise), []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa0, 0, 0, 0}, "window size exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			l := launchAgent(t, "PPRUN_CACHE="+dir)
			l.hello(time.Second)
			_, f := l.stage(1, c.stage, c.stream)
			if f == nil || f.Code != 125 || f.Phase != "stage" || !strings.Contains(f.Text, c.want) || !strings.Contains(f.Text, dir) {
				t.Errorf("got %+v, want %q", f, c.want)
			}
			l.bye()
			cacheHolds(t, dir)
		})
	}
}

// TestStageChangedOnItsWay flips, cuts and adds bytes at many places of a program and of the stream that carries it. None of
// that is taken for the program, and what does not start it is told.
func TestStageChangedOnItsWay(t *testing.T) {
	dir := t.TempDir()
	ran := filepath.Join(t.TempDir(), "ran")
	var text strings.Builder // of lines that do not compress to nothing
	for i := range 40 {
		text.WriteString("echo " + digestOf([]byte{byte(i)}) + " >>" + ran + "\n")
	}
	program := []byte("#!/bin/sh\n" + text.String())
	stream := compress(t, program)
	l := launchAgent(t, "PPRUN_CACHE="+dir)
	l.hello(time.Second)
	id := uint64(0)
	stage := func(name string, at int, b []byte, want string) {
		t.Helper()
		id++
		l.mu.Lock()
		l.fails, l.frames = nil, nil
		l.mu.Unlock()
		got, f := l.stage(id, programStage(program), b)
		if f == nil || f.Code != 125 || !strings.Contains(f.Text, dir) || !strings.Contains(f.Text, want) {
			t.Errorf("%s at %d: %+v, %+v, want %q", name, at, got, f, want)
		}
	}
	for at := 0; at < len(program); at += 97 {
		b := bytes.Clone(program)
		b[at] ^= 1 << (at % 8)
		stage("flipped in the program", at, compress(t, b), "sha256 mismatch: got "+digestOf(b)+", want "+digestOf(program))
		stage("cut in the program", at, compress(t, program[:at]), "bytes arrived of the announced")
	}
	stage("added to the program", len(program), compress(t, append(bytes.Clone(program), '#')), "more than the announced")
	for at := 0; at < len(stream)-4; at += 23 { // behind it is a checksum of its own
		b := bytes.Clone(stream)
		b[at] ^= 0x10
		stage("flipped in the stream", at, b, "")
		stage("cut in the stream", at, stream[:at], "")
	}
	stage("added to the stream", len(stream), append(bytes.Clone(stream), "echo evil\n"...), "")
	s := sh(1, "")
	s.Program = Program{Stage: id}
	l.mu.Lock()
	l.fails = nil
	l.mu.Unlock()
	l.send(KindStart, s)
	l.wait("failure", func() bool { return len(l.fails) > 0 })
	l.bye()
	cacheHolds(t, dir)
	if _, err := os.Stat(ran); err == nil {
		t.Error("a changed program was executed")
	}
	t.Logf("%d changes", id)
}

func TestTwoAgentsStageTheSame(t *testing.T) {
	dir := t.TempDir()
	script := []byte("#!/bin/sh\necho ok\n")
	stream := compress(t, script)
	ls := make([]*launcher, 3)
	for i := range ls {
		ls[i] = launchAgent(t, "PPRUN_CACHE="+dir)
		ls[i].hello(time.Second)
		if err := ls[i].conn.SendValue(frame.Header{Kind: KindStage, ID: 1}, programStage(script)); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range ls { // all write at once
		l.wait("want", func() bool { return l.values[KindWant] != nil })
	}
	for _, l := range ls {
		l.sendChunks(1, stream)
	}
	for _, l := range ls {
		l.wait("staged", func() bool { return len(l.staged) == 1 })
		s := sh(1, "")
		s.Program = Program{Stage: 1}
		l.start(s)
		if l.exited(1); l.out[0].String() != "ok\n" {
			t.Errorf("printed %q, %+v", l.out[0], l.exits)
		}
		l.bye()
	}
	cacheHolds(t, dir, filepath.Join(dir, digestOf(script), "prog"))
}

func TestStageFile(t *testing.T) {
	l := launchAgent(t, "PPRUN_CACHE="+t.TempDir())
	l.hello(time.Second)
	data := []byte("some data\n")
	got, f := l.stage(7, Stage{Name: "data", Digest: digestOf(data), Size: int64(len(data)), Mode: 0o4640}, compress(t, data))
	if f != nil || filepath.Base(got.Path) != "data" {
		t.Fatalf("%+v, %+v", got, f)
	}
	s := sh(1, `cat data; stat -c %a data .`)
	s.Dir, s.DirGiven = "", false
	l.start(s)
	if l.exited(1); l.out[0].String() != "some data\n640\n700\n" {
		t.Errorf("printed %q", l.out[0])
	}
	l.bye()
	if _, err := os.Stat(got.Path); err == nil {
		t.Errorf("%s is still there", got.Path)
	}
}

func TestUnfitPrograms(t *testing.T) {
	for _, c := range []struct {
		program string
		code    int
		want    string
	}{
		{"#!/no/such/interpreter -x\n", 127, "its interpreter /no/such/interpreter is not there"},
		{"#!/bin/sh\r\necho\r\n", 126, "its #! line ends in CR"},
		{"#!\n", 126, "names no interpreter"},
		{"echo no line\n", 126, "has no #! line"},
		{"", 126, "is empty"},
	} {
		dir := t.TempDir()
		l := launchAgent(t, "PPRUN_CACHE="+dir)
		l.hello(time.Second)
		_, f := l.stage(1, programStage([]byte(c.program)), compress(t, []byte(c.program)))
		if f == nil {
			s := sh(1, "")
			s.Program = Program{Stage: 1}
			l.send(KindStart, s)
			l.wait("failure", func() bool { return len(l.fails) > 0 })
			f = &l.fails[0]
		}
		if f.Code != c.code || !strings.Contains(f.Text, c.want) || !strings.Contains(f.Text, "here") {
			t.Errorf("%q: got %+v, want %q", c.program, f, c.want)
		}
		l.bye()
	}
}

// TestCacheMount needs to mount: a file system that executes nothing, and a full one.
func TestCacheMount(t *testing.T) {
	for _, c := range []struct{ options, want string }{
		{"noexec", "programs cannot be executed there (mounted noexec?)"},
		{"size=16k", "0.0 MB free, 0.2 MB needed"},
	} {
		dir := t.TempDir()
		if err := syscall.Mount("agent-test", dir, "tmpfs", 0, ""); err != nil {
			t.Skipf("cannot mount a tmpfs: %v", err)
		}
		syscall.Unmount(dir, 0)
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "mode=700,"+c.options, "agent-test", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
		next := t.TempDir()
		program := append([]byte("#!/bin/sh\necho ok\n#"), bytes.Repeat([]byte("x"), 200_000)...)
		l := launchAgent(t, "PPRUN_CACHE="+dir, "XDG_CACHE_HOME="+next)
		l.hello(time.Second)
		got, f := l.stage(1, programStage(program), compress(t, program))
		if f != nil || !strings.HasPrefix(got.Path, next) {
			t.Errorf("%s: %+v, %+v: want the next directory", c.options, got, f)
		}
		l.bye()
		k, err := makeCache(dir)
		if err != nil {
			t.Fatal(err)
		}
		err = k.room(int64(len(program)))
		if err == nil {
			err = k.probe(func(path string) error { return exec.Command(path).Run() })
		}
		if k.close(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.options, err, c.want)
		}
	}
}

// A program that is kept where it cannot be executed any more, as in a home that is mounted noexec here, is kept elsewhere.
func TestCacheBecomesNoexec(t *testing.T) {
	dir, next := t.TempDir(), t.TempDir()
	mount := func(args ...string) {
		if out, err := exec.Command("mount", append(args, dir)...).CombinedOutput(); err != nil {
			t.Skipf("needs to mount a tmpfs: %v: %s", err, out)
		}
	}
	mount("-t", "tmpfs", "-o", "mode=700", "agent-test")
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	program := []byte("#!/bin/sh\necho ok\n")
	for i, want := range []string{dir, next, next} {
		if i == 1 {
			mount("-o", "remount,noexec")
		}
		l := launchAgent(t, "PPRUN_CACHE="+dir, "XDG_CACHE_HOME="+next)
		l.hello(time.Second)
		got, f := l.stage(1, programStage(program), compress(t, program))
		if f != nil || !strings.HasPrefix(got.Path, want) || got.Cached != (i == 2) {
			t.Errorf("round %d: %+v, %+v: want it below %s", i, got, f, want)
		}
		l.bye()
	}
}

func TestHostileCacheDirectories(t *testing.T) {
	base := t.TempDir()
	victim := filepath.Join(base, "victim")
	os.Mkdir(victim, 0o700)
	link := filepath.Join(base, "link")
	os.Symlink(victim, link)
	open := filepath.Join(base, "open")
	os.Mkdir(open, 0o700)
	os.Chmod(open, 0o777)
	file := filepath.Join(base, "file")
	os.WriteFile(file, nil, 0o600)
	for path, want := range map[string]string{link: "not a directory", open: "others may write there", file: "not a directory"} {
		if c, err := makeCache(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %q", path, c, err, want)
		}
	}
	if os.Getuid() == 0 {
		strange := filepath.Join(base, "strange")
		os.Mkdir(strange, 0o700)
		os.Chown(strange, 65534, 65534)
		if _, err := makeCache(strange); err == nil || !strings.Contains(err.Error(), "belongs to uid 65534") {
			t.Errorf("%v", err)
		}
	}
	// A link inside the cache is no entry.
	own := filepath.Join(base, "own")
	program := []byte("#!/bin/sh\n")
	digest := digestOf(program)
	os.MkdirAll(filepath.Join(own, digest), 0o700)
	os.WriteFile(filepath.Join(base, "elsewhere"), program, 0o500)
	os.Symlink(filepath.Join(base, "elsewhere"), filepath.Join(own, digest, "prog"))
	c, err := makeCache(own)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if _, err := c.find(digest, "prog", int64(len(program))); err == nil {
		t.Error("a link was taken for an entry")
	}
}

// TestStagedAtOnce has several ranks started again at once when another job has replaced the program in the cache.
func TestStagedAtOnce(t *testing.T) {
	dir := t.TempDir()
	c, err := openCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	program := []byte("#!/bin/sh\n")
	put := func(st Stage) *os.File {
		f, temp, err := c.create(st.Digest)
		if err == nil {
			_, err = f.Write(program)
		}
		if err == nil {
			f, err = c.commit(f, temp, &st)
		}
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	s := &staging{Stage: programStage(program), done: make(chan struct{})}
	s.file, s.path = put(s.Stage), filepath.Join(c.path, s.Digest, s.Name)
	close(s.done)
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	put(s.Stage).Close()
	a := &agent{stages: map[uint64]*staging{1: s}}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if path, err := a.staged(1); path != s.path || err != nil {
				t.Errorf("%q, %v", path, err)
			}
		})
	}
	all.Wait()
	s.file.Close()
}

// TestStageAfterStart has a launcher send a file when the ranks have started, which it must not.
func TestStageAfterStart(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Second)
	l.start(sh(1, "sleep 1000"))
	if err := l.conn.SendValue(frame.Header{Kind: KindStage, ID: 1}, programStage([]byte("#!/bin/sh\n"))); err != nil {
		t.Fatal(err)
	}
	<-l.done
	l.nothingLeft()
	if slices.ContainsFunc(l.frames, func(h frame.Header) bool { return h.Kind == KindWant }) {
		t.Error("the agent wants it")
	}
}
