package preflight

// JudgeLatency is tested by itself: how fast a disk is, no test can say.
var JudgeLatency = judgeLatency

// JudgeEndpoints is tested by itself: an old etcd is nowhere to be had.
var JudgeEndpoints = judgeEndpoints

// HolderOf is tested by itself: an address at the other end of a test's link is one of this host too.
var HolderOf = holderOf
