"""What Redis does in one step, as Lua. Commands of Redis 7.0 only; it runs on Valkey as well.

All keys of a call belong to one shard, hence to one slot of a Cluster; only heads and heartbeats
take several shards, where no Cluster forbids it. Sequences stay text on their way into Redis: Lua
would write large numbers as ``1e+15``.

R1: every script first asks whether this is the server that was told the epoch. A promoted replica
has another replication id, a restarted server another run id; either may have lost what was
acknowledged. Then the answer is "suspect" and nothing else, until the relay begins a new epoch.
"""

from typing import Final

# Both names are of 40 characters. Searching for plain text takes half the time of a pattern.
# `head_of` gives seq, epoch, floor, identity, incarnation of a shard; false where it is suspect.
_HEAD_OF: Final = """
local function named(section, field)
  local text = redis.call('INFO', section)
  local _, at = string.find(text, field, 1, true)
  return string.sub(text, at + 1, at + 40)
end
local function identity()
  return named('server', 'run_id:') .. '/' .. named('replication', 'master_replid:')
end
local function head_of(key, server)
  local known = redis.call('HMGET', key, 'seq', 'epoch', 'floor', 'identity', 'incarnation')
  if not known[1] or not known[2] or known[4] ~= server then return false end
  return known
end
"""

_KNOWN: Final = _HEAD_OF + "local known = head_of(KEYS[1], identity())\n"

# What `answer` says of each shard; an error costs the shard in which it is. Nothing but scripts
# runs meanwhile, so the server is asked once who it is.
_EACH: Final = (
    _HEAD_OF
    + """
local function each(shards, answer)
  local server, answers = identity(), {}
  for place = 1, shards do
    local done, found = pcall(answer, place, server)
    if not done and type(found) ~= 'table' then found = {err = 'ERR ' .. tostring(found)} end
    answers[place] = found
  end
  return answers
end
"""
)

# The clock of a shard is the server's without its leaps: it goes on by what has passed since it was
# read last, by two seconds at most, and never back. So whatever becomes of the server's time, all
# that is reckoned by it comes later and never sooner. It is kept among the members: where they were
# lost the shard is suspect, because nobody could be waited for who is not listed any more.
# `clock_of` gives it in ms, and how it is written down; nil where it is lost or of another epoch.
_CLOCK: Final = """
local function clock_of(members, epoch, now)
  local kept = redis.pcall('HGET', members, 'clock')
  if type(kept) ~= 'string' then return nil end
  local last, of, at = string.match(kept, '^(%d+) (%d+) (%d+)$')
  if of ~= epoch then return nil end
  at = string.format('%.0f', at + math.max(0, math.min(now - last, 2000)))
  return at, string.format('%.0f', now) .. ' ' .. of .. ' ' .. at
end
"""

# KEYS: head, value. -> [seq, epoch, floor, identity, incarnation] or nil, value
READ: Final = (
    _KNOWN
    + """
if not known then return {false, false} end
return {known, redis.call('GET', KEYS[2])}
"""
)

# KEYS: head, values. -> [seq, epoch, floor, identity, incarnation] or nil, values
READ_MANY: Final = (
    _KNOWN
    + """
if not known then return {false, {}} end
return {known, redis.call('MGET', unpack(KEYS, 2))}
"""
)

# KEYS: head, members, for each shard.
# -> for each: [seq, epoch, floor, identity, incarnation] or nil
HEADS: Final = (
    _EACH
    + _CLOCK
    + """
return each(#KEYS / 2, function(place, server)
  local known = head_of(KEYS[2 * place - 1], server)
  return known and clock_of(KEYS[2 * place], known[2], 0) and known or false
end)
"""
)

# R4: a fill is refused unless head and epoch are those of its miss.
# KEYS: head, value. ARGV: seq, epoch, seconds to live, value. -> done, suspect, epoch or head
FILL: Final = (
    _KNOWN
    + """
if not known then return 'suspect' end
if known[2] ~= ARGV[2] then return 'epoch' end
if known[1] ~= ARGV[1] then return 'head' end
redis.call('SET', KEYS[2], ARGV[4], 'EX', ARGV[3])
return 'done'
"""
)

# The same for many of one shard.
# KEYS: head, values. ARGV: seconds to live, then for each value: seq, epoch, value.
# -> for each: done, suspect, epoch or head
FILL_MANY: Final = (
    _KNOWN
    + """
local answers = {}
for i = 2, #KEYS do
  local at = 3 * i - 4
  if not known then
    answers[i - 1] = 'suspect'
  elseif known[2] ~= ARGV[at + 1] then
    answers[i - 1] = 'epoch'
  elseif known[1] ~= ARGV[at] then
    answers[i - 1] = 'head'
  else
    redis.call('SET', KEYS[i], ARGV[at + 2], 'EX', ARGV[1])
    answers[i - 1] = 'done'
  end
end
return answers
"""
)

# R3: only head + 1 ... n, contiguously; what is known already is skipped.
# KEYS: head, log, then the value of each change. ARGV: PUBLISH or SPUBLISH, channel, epoch, length
# of the log, incarnation, then for each change: seq, whether it invalidates the whole shard (0 or
# 1), message.
# -> outcome, seq, epoch
INVALIDATE: Final = (
    _KNOWN
    + """
if not known or known[5] ~= ARGV[5] then return {'suspect', 0, 0} end
local head, epoch = tonumber(known[1]), tonumber(known[2])
if known[2] ~= ARGV[3] then return {'epoch', head, epoch} end
local outcome = 'done'
for i = 3, #KEYS do
  local at = 6 + (i - 3) * 3
  local seq = tonumber(ARGV[at])
  if seq > head + 1 then
    outcome = 'gap'
    break
  end
  if seq == head + 1 then
    if ARGV[at + 1] == '1' then
      redis.call('HSET', KEYS[1], 'floor', ARGV[at])
    else
      redis.call('UNLINK', KEYS[i])
    end
    redis.call('HSET', KEYS[1], 'seq', ARGV[at])
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], ARGV[at] .. '-0', 'm', ARGV[at + 2])
    redis.call(ARGV[1], ARGV[2], ARGV[at + 2])
    head = seq
  end
end
return {outcome, head, epoch}
"""
)

# The life of a shard's content as it is now, suspect or not. A flush ends it and with it the nonce,
# so that whoever saw it before the flush can be told from whoever saw it after.
# KEYS: head. ARGV: a nonce for a life that has none. -> identity, epoch ('' for none), nonce
LIFE: Final = (
    _KNOWN
    + """
redis.call('HSETNX', KEYS[1], 'nonce', ARGV[1])
local life = redis.call('HMGET', KEYS[1], 'epoch', 'nonce')
return {identity(), life[1] or '', life[2]}
"""
)

# R1: begins a new life of the content. What is still there carries another epoch and is a miss;
# the members belong to the life before. Refused unless the life is still the one that was seen: a
# relay that was paused must not bring back what a later one has replaced.
# KEYS: head, log, members. ARGV: PUBLISH or SPUBLISH, channel, seq, epoch, message, incarnation,
# then the life that was seen: identity, epoch, nonce. -> 1, or 0 when it is known or outdated
ESTABLISH: Final = (
    _KNOWN
    + """
local stored = redis.call('HMGET', KEYS[1], 'seq', 'epoch', 'nonce')
if identity() ~= ARGV[7] or (stored[2] or '') ~= ARGV[8] or stored[3] ~= ARGV[9] then return 0 end
if stored[1] and stored[2] then
  local seq, epoch = tonumber(stored[1]), tonumber(stored[2])
  if epoch > tonumber(ARGV[4]) then return 0 end
  if known and epoch == tonumber(ARGV[4]) and seq >= tonumber(ARGV[3]) then return 0 end
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'seq', ARGV[3], 'epoch', ARGV[4], 'floor', ARGV[3],
  'identity', identity(), 'incarnation', ARGV[6],
  'begun', now)
redis.call('HSET', KEYS[3], 'clock', now .. ' ' .. ARGV[4] .. ' ' .. now)
redis.call(ARGV[1], ARGV[2], ARGV[5])
return 1
"""
)

# A heartbeat is a write: it says what was applied, and learns what there is. Of silent members some
# are found by chance: two of one shard in sixteen are looked at, and more where one had gone (less
# than 1 ms). Looking at all would take 13 ms for ten thousand, in which the server answers nobody.
# KEYS: head, members, for each shard. ARGV: member, milliseconds until a silent one is forgotten,
# then the watermark of each shard (-1 for none).
# -> for each: [seq, epoch, floor, identity, incarnation] or nil
HEARTBEATS: Final = (
    _EACH
    + _CLOCK
    + """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function prune(members, now)
  for _ = 1, 256 do
    local sample, gone = redis.call('HRANDFIELD', members, -2, 'WITHVALUES'), 0
    for i = 1, #sample, 2 do
      local silent = now - string.match(sample[i + 1], '(%d+)$') > tonumber(ARGV[2])
      if silent and sample[i] ~= 'clock' then
        gone = gone + redis.call('HDEL', members, sample[i])
      end
    end
    if gone == 0 then return end
  end
end
local function beat(place, server)
  local head, members = KEYS[2 * place - 1], KEYS[2 * place]
  local known = head_of(head, server)
  if not known then return false end
  local at, clock = clock_of(members, known[2], now)
  if not at then return false end
  local confirmed = ARGV[2 + place] .. ' ' .. known[2] .. ' ' .. at
  redis.call('HSET', members, ARGV[1], confirmed, 'clock', clock)
  if (time[2] + place) % 16 == 0 then prune(members, at) end
  return known
end
return each(#KEYS / 2, beat)
"""
)

# A sidecar has ended, and has used nothing under a lease since before it said so. `clock` is none.
# KEYS: members. ARGV: member. -> 1, or 0 when it was not listed
RESIGN: Final = """
return redis.call('HDEL', KEYS[1], ARGV[1])
"""

# A write as well: a master that was cut off must not vouch for what it no longer decides.
# KEYS: head, members.
# -> head as above or nil, [member, "watermark epoch served", ...], now and the epoch's begin in ms;
# `clock`, which is no member, is among them
MEMBERS: Final = (
    _KNOWN
    + _CLOCK
    + """
if not known then return {false, {}, '0', false} end
local time = redis.call('TIME')
local at, clock = clock_of(KEYS[2], known[2], time[1] * 1000 + math.floor(time[2] / 1000))
if not at then return {false, {}, '0', false} end
redis.call('HSET', KEYS[2], 'clock', clock)
return {known, redis.call('HGETALL', KEYS[2]), at, redis.call('HGET', KEYS[1], 'begun')}
"""
)

# A count that halves with time, kept as its logarithm: log2 of the sum of 2^(when / half-life) over
# all uses. So it fades by standing still, and a report costs what it names, not what is kept.
# KEYS: used. ARGV: most, seconds to live, seconds of the half-life, then members.
NOTE_USED: Final = """
local time = redis.call('TIME')
local now = (time[1] + time[2] / 1000000) / ARGV[3]
for i = 4, #ARGV do
  local known = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or '-inf')
  local score = now
  if known > now - 60 then
    score = math.max(known, now) + math.log(1 + 2 ^ -math.abs(known - now)) / math.log(2)
  end
  redis.call('ZADD', KEYS[1], string.format('%.17g', score), ARGV[i])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -tonumber(ARGV[1]) - 1)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
