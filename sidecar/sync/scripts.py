"""What Redis does in one step, as Lua. Commands of Redis 7.0 only; it runs on Valkey as well.

All keys of a call belong to one shard, hence to one slot of a Cluster. Sequences stay text on
their way into Redis: Lua would write large numbers as ``1e+15``.
"""

from typing import Final

# KEYS: head, value. -> [seq, epoch, floor], value
READ: Final = """
return {redis.call('HMGET', KEYS[1], 'seq', 'epoch', 'floor'), redis.call('GET', KEYS[2])}
"""

# R4: a fill is refused unless head and epoch are those of its miss.
# KEYS: head, value. ARGV: seq, epoch, seconds to live, value. -> 1 or 0
FILL: Final = """
local head = redis.call('HMGET', KEYS[1], 'seq', 'epoch')
if head[1] ~= ARGV[1] or head[2] ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[2], ARGV[4], 'EX', ARGV[3])
return 1
"""

# R3: only head + 1 ... n, contiguously; what is known already is skipped.
# KEYS: head, log, then the value of each change. ARGV: channel, epoch, length of the log, then for
# each change: seq, whether it invalidates the whole shard (0 or 1), message.
# -> outcome, seq, epoch
INVALIDATE: Final = """
local known = redis.call('HMGET', KEYS[1], 'seq', 'epoch')
if not known[1] or not known[2] then return {'suspect', 0, 0} end
local head, epoch = tonumber(known[1]), tonumber(known[2])
if known[2] ~= ARGV[2] then return {'epoch', head, epoch} end
local outcome = 'done'
for i = 3, #KEYS do
  local at = 4 + (i - 3) * 3
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
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], ARGV[at] .. '-0', 'm', ARGV[at + 2])
    redis.call('PUBLISH', ARGV[1], ARGV[at + 2])
    head = seq
  end
end
return {outcome, head, epoch}
"""

# R1: begins a new life of the content. What is still there carries another epoch and is a miss.
# KEYS: head, log. ARGV: channel, seq, epoch, message. -> 1, or 0 when it is known or outdated
ESTABLISH: Final = """
local known = redis.call('HMGET', KEYS[1], 'seq', 'epoch')
if known[1] and known[2] then
  local seq, epoch = tonumber(known[1]), tonumber(known[2])
  if epoch > tonumber(ARGV[3]) then return 0 end
  if epoch == tonumber(ARGV[3]) and seq >= tonumber(ARGV[2]) then return 0 end
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'seq', ARGV[2], 'epoch', ARGV[3], 'floor', ARGV[2])
redis.call('PUBLISH', ARGV[1], ARGV[4])
return 1
"""
