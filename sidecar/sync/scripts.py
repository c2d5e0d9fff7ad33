"""What Redis does in one step, as Lua. Commands of Redis 7.0 only; it runs on Valkey as well.

All keys of a call belong to one shard, hence to one slot of a Cluster. Sequences stay text on
their way into Redis: Lua would write large numbers as ``1e+15``.

R1: every script first asks whether this is the server that was told the epoch. A promoted replica
has another replication id, a restarted server another run id; either may have lost what was
acknowledged. Then the answer is "suspect" and nothing else, until the relay begins a new epoch.
"""

from typing import Final

# The head of a shard: seq, epoch, floor, identity, incarnation. `known` is false where suspect.
_KNOWN: Final = """
local function identity()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') .. '/'
    .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
end
local known = redis.call('HMGET', KEYS[1], 'seq', 'epoch', 'floor', 'identity', 'incarnation')
if not known[1] or not known[2] or known[4] ~= identity() then known = false end
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

# KEYS: head. -> [seq, epoch, floor, identity, incarnation] or nil
HEAD: Final = _KNOWN + "return known"

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
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'seq', ARGV[3], 'epoch', ARGV[4], 'floor', ARGV[3],
  'identity', identity(), 'incarnation', ARGV[6],
  'begun', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
redis.call(ARGV[1], ARGV[2], ARGV[5])
return 1
"""
)

# A heartbeat is a write: it says what was applied, and learns what there is.
# KEYS: head, members. ARGV: member, watermark (-1 for none), milliseconds until a silent member is
# forgotten. -> [seq, epoch, floor, identity, incarnation] or nil
HEARTBEAT: Final = (
    _KNOWN
    + """
if not known then return false end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[2], ARGV[1],
  ARGV[2] .. ' ' .. known[2] .. ' ' .. string.format('%.0f', now))
if now % 16 == 0 then
  local members = redis.call('HGETALL', KEYS[2])
  for i = 1, #members, 2 do
    local served = tonumber(string.match(members[i + 1], '(%d+)$'))
    if now - served > tonumber(ARGV[3]) then redis.call('HDEL', KEYS[2], members[i]) end
  end
end
return known
"""
)

# A write as well: a master that was cut off must not vouch for what it no longer decides.
# KEYS: head, members.
# -> head as above or nil, [member, "watermark epoch served", ...], now and the epoch's begin in ms
MEMBERS: Final = (
    _KNOWN
    + """
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[1], 'asked', now)
return {known, redis.call('HGETALL', KEYS[2]), now, redis.call('HGET', KEYS[1], 'begun')}
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
