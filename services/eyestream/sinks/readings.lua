-- What a reader changes in an exam, each in one atomic call with its entry in the audit record. All keys of a call lie
-- in one shard. docs/redis-keys.md says what they hold.

local SPAN = 1e10
local FIELDS = {'programme', 'version', 'decided', 'decision', 'reading:version', 'reading:reader', 'reading:since',
  'reading:until', 'reading:verdict', 'reading:pictures'}

local function look(exam)
  local values = redis.call('HMGET', exam, unpack(FIELDS))
  local state = {}
  for i, name in ipairs(FIELDS) do
    state[name] = values[i]
  end
  state.seen = string.format('%s.%s.%s', state.version or '0', state.decided or '0', state['reading:version'] or '0')
  state.read = state['reading:verdict'] and state['reading:pictures'] == state.version
  return state
end

local function held(state, now)
  return state['reading:reader'] and tonumber(state['reading:until']) > tonumber(now)
end

local function answer(outcome, exam)
  return {outcome, redis.call('HMGET', exam, unpack(FIELDS))}
end

-- The version, the event and the audit record, whatever was changed.
local function tell(keys, call, state, deed, detail)
  redis.call('HINCRBY', keys[1], 'reading:version', 1)
  redis.call('XADD', keys[2], 'MAXLEN', '~', call.events, '*', 'exam', call.exam, 'programme', state.programme, 'deed',
    deed, 'by', call.who, 'at', call.now, 'until', call.to or '')
  redis.call('XADD', keys[3], 'MINID', '~', call.keep_from, '*', 'at', call.now, 'who', call.who, 'how', call.how,
    'request', call.request, 'action', 'exam.' .. deed, 'exam', call.exam, 'image', '', 'programme', state.programme,
    'detail', detail)
end

-- Every call begins with the same arguments; the rest is its own.
local function begin(keys, args)
  local call = {}
  call.exam, call.who, call.how, call.request, call.now, call.seen, call.events, call.keep_from = unpack(args, 1, 8)
  local state = look(keys[1])
  if not state.programme then
    return call, state, 'unknown'
  end
  if call.seen ~= '' and call.seen ~= state.seen then
    return call, state, 'stale'
  end
  return call, state, nil
end

-- KEYS exam, readings, audit
-- ARGV exam_id, who, how, request, now, seen (or empty), events kept, audit kept from; until
local function claim(keys, args)
  local call, state, refusal = begin(keys, args)
  if refusal then
    return answer(refusal, keys[1])
  end
  if state.read then
    return answer('decided', keys[1])
  end
  call.to = args[9]
  if held(state, call.now) then
    if state['reading:reader'] ~= call.who then
      return answer('taken', keys[1])
    end
    redis.call('HSET', keys[1], 'reading:until', call.to)
    return answer('done', keys[1])
  end
  redis.call('HSET', keys[1], 'reading:reader', call.who, 'reading:since', call.now, 'reading:until', call.to)
  tell(keys, call, state, 'claimed', '')
  return answer('done', keys[1])
end

-- KEYS exam, readings, audit
-- ARGV as above
local function release(keys, args)
  local call, state, refusal = begin(keys, args)
  if refusal then
    return answer(refusal, keys[1])
  end
  if state['reading:reader'] == call.who then
    redis.call('HDEL', keys[1], 'reading:reader', 'reading:since', 'reading:until')
    tell(keys, call, state, 'released', '')
  elseif held(state, call.now) then
    return answer('taken', keys[1])
  end
  return answer('done', keys[1])
end

-- KEYS exam, readings, audit, worklist, expiry
-- ARGV as above; programme (of the worklist), verdict, detail
local function verdict(keys, args)
  local call, state, refusal = begin(keys, args)
  local programme, text, detail = unpack(args, 9, 11)
  if not refusal and state.programme ~= programme then
    refusal = 'stale'
  elseif not refusal and state['reading:reader'] ~= call.who then
    refusal = held(state, call.now) and 'taken' or 'not-claimed'
  end
  if refusal then
    return answer(refusal, keys[1])
  end
  redis.call('HSET', keys[1], 'reading:verdict', text, 'reading:pictures', state.version)
  redis.call('HDEL', keys[1], 'reading:reader', 'reading:since', 'reading:until')
  redis.call('ZREM', keys[4], call.exam)
  redis.call('ZREM', keys[5], call.exam)
  tell(keys, call, state, 'decided', detail)
  return answer('done', keys[1])
end

local function keep_at_least(key, ttl)
  if redis.call('TTL', key) < ttl then
    redis.call('EXPIRE', key, ttl)
  end
end

-- Put the exam back where the line had it: the same place, and as long as the exam is kept.
local function list_again(keys, call, state)
  local outcome, since = unpack(redis.call('HMGET', keys[1], 'outcome', 'since'))
  if not state.decision or outcome == 'clear' then
    return
  end
  local rank = cjson.decode(state.decision).rank
  local waiting_since = math.max(0, math.min(tonumber(since), SPAN - 1))
  local ttl = math.max(1, redis.call('TTL', keys[1]))
  redis.call('ZADD', keys[4], string.format('%.3f', waiting_since - SPAN * (rank + 1)), call.exam)
  redis.call('ZADD', keys[5], call.now + ttl, call.exam)
  keep_at_least(keys[4], ttl)
  keep_at_least(keys[5], ttl)
end

-- KEYS exam, readings, audit, worklist, expiry
-- ARGV as above; programme (of the worklist)
local function reopen(keys, args)
  local call, state, refusal = begin(keys, args)
  if not refusal and state.programme ~= args[9] then
    refusal = 'stale'
  elseif not refusal and not state.read then
    refusal = 'not-decided'
  end
  if refusal then
    return answer(refusal, keys[1])
  end
  redis.call('HDEL', keys[1], 'reading:verdict', 'reading:pictures')
  list_again(keys, call, state)
  tell(keys, call, state, 'reopened', '')
  return answer('done', keys[1])
end

redis.register_function('es_claim_@', claim)
redis.register_function('es_release_@', release)
redis.register_function('es_verdict_@', verdict)
redis.register_function('es_reopen_@', reopen)
