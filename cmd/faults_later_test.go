package cmd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestFaultMatrixLater lets the calls of the other pipelines, as far as Deploy does not make them, meet every trouble. While
// it lasts the service waits or errs in words that name it, nothing is freed and no VM is said to be gone; when it is over
// the verb ends as it does without. By default every call meets one trouble and every trouble one call, by a printed seed;
// PUQKVM_SOAK asks all cells, PUQKVM_TEST_CELL those that an expression matches.
func TestFaultMatrixLater(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(seed(t), 0))
	const shards = 2
	worlds := make([]*laterWorld, shards)
	for i := range worlds {
		worlds[i] = newLaterWorld(t)
	}
	all := worlds[0].laterCells(rng)
	var plain []faultCell
	byKey := map[string]laterCell{}
	for _, c := range all {
		cell := c.faultCell
		cell.method = c.later.name + ": " + cell.method // so that each stands for itself in the table
		plain, byKey[cell.key()] = append(plain, cell), c
	}
	chosen := plain
	if !soak() {
		chosen = sample(rng, plain)
	}
	if text := os.Getenv("PUQKVM_TEST_CELL"); text != "" {
		only := regexp.MustCompile(text)
		chosen = slices.DeleteFunc(slices.Clone(plain), func(c faultCell) bool { return !only.MatchString(c.String()) })
	}
	if len(chosen) == 0 {
		t.Fatal("no cell was chosen")
	}
	var mu sync.Mutex
	results := map[string]string{}
	began := time.Now()
	t.Run("cells", func(t *testing.T) {
		for i, w := range worlds {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				w.t = t
				for n := i; n < len(chosen); n += shards {
					key := chosen[n].key()
					ok := t.Run(chosen[n].String(), func(t *testing.T) {
						w.t = t
						w.meet(byKey[key])
					})
					w.t = t
					mu.Lock()
					if results[key] = "ok"; !ok {
						results[key] = "FAILED"
					}
					mu.Unlock()
				}
			})
		}
	})
	failed := 0
	for _, r := range results {
		if r != "ok" {
			failed++
		}
	}
	t.Logf("\n%s%d calls, %d cells of %d, %d not as they must be, %v of wall time", drawn(plain, results), len(callsOf(plain)), len(results), len(all), failed, time.Since(began).Round(time.Second))
}
