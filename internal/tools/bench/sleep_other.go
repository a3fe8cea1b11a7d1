//go:build !linux

package bench

import "time"

func exact() (undo func()) { return func() {} }

func sleep(d time.Duration) { time.Sleep(d) }
