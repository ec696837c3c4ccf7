package preflight

// JudgeLatency is tested by itself: how fast a disk is, no test can say.
var JudgeLatency = judgeLatency
