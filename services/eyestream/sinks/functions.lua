-- What changes an exam, in one atomic call each. Nothing here judges an eye: decisions come in from the caller.
-- All keys of a call lie in one shard. docs/redis-keys.md says what they hold.

local HOUR = 3600
local COUNTERS_TTL = 5 * 366 * 24 * HOUR
-- A worklist score is since - SPAN * (rank + 1): larger rank first, then whoever has waited longest.
local SPAN = 1e10

local function starts_with(text, prefix)
  return string.sub(text, 1, #prefix) == prefix
end

-- How the exam stands, as a caller needs it to decide: JSON, whose pictures are as they were given. One string, because
-- a client reads one long string many times faster than a nest of short ones.
local function standing(exam)
  local fields = redis.call('HGETALL', exam)
  local state = {version = '0', decided = '0', programme = '', day = ''}
  local pictures = {}
  for i = 1, #fields, 2 do
    local name, value = fields[i], fields[i + 1]
    if state[name] then
      state[name] = value
    elseif starts_with(name, 'picture:') or starts_with(name, 'note:') then
      pictures[#pictures + 1] = value
    end
  end
  return string.format('{"version":%s,"decided":%s,"programme":"%s","day":"%s","pictures":[%s]}', state.version,
    state.decided, state.programme, state.day, table.concat(pictures, ','))
end

-- A picture of the exam changed: the exam begins with its first picture and is kept as long as its last.
local function touch(exam, programme, day, captured, ttl)
  redis.call('HSETNX', exam, 'programme', programme)
  redis.call('HSETNX', exam, 'day', day)
  local since = redis.call('HGET', exam, 'since')
  if not since or tonumber(captured) < tonumber(since) then
    redis.call('HSET', exam, 'since', captured)
  end
  redis.call('HINCRBY', exam, 'version', 1)
  redis.call('EXPIRE', exam, ttl)
end

local function count(key, field, by)
  redis.call('HINCRBY', key, field, by)
  redis.call('EXPIRE', key, COUNTERS_TTL)
end

-- The same conditions, and every probability within the noise of the engine.
local function alike(known, new, tolerance)
  local probabilities, missing = {}, 0
  for _, finding in ipairs(known) do
    probabilities[finding.condition] = finding.probability
    missing = missing + 1
  end
  for _, finding in ipairs(new) do
    local probability = probabilities[finding.condition]
    if not probability or math.abs(probability - finding.probability) > tolerance then
      return false
    end
    missing = missing - 1
  end
  return missing == 0
end

-- The same file of the same eye, judged alike.
local function same(known, new, tolerance)
  for _, name in ipairs({'sha256', 'subject_id', 'laterality', 'field'}) do
    if known.meta[name] ~= new.meta[name] then
      return false
    end
  end
  return alike(known.findings, new.findings, tolerance) and alike(known.quality, new.quality, tolerance)
end

-- KEYS exam, image, count, conflicts
-- ARGV image_id, identity, result, picture, tolerance, programme, day, captured, ttl, conflicts kept, ask (1 or 0)
-- -> outcome, and how the exam stands if asked
local function store(keys, args)
  local exam, image, counts, conflicts = unpack(keys)
  local image_id, identity, result, picture, tolerance, programme, day, captured, ttl, kept, ask = unpack(args)
  local outcome = 'stored'
  local known = redis.call('GET', image)
  if not known then
    redis.call('SET', image, result, 'EX', ttl)
  elseif same(cjson.decode(known), cjson.decode(result), tonumber(tolerance)) then
    outcome = 'duplicate'
  else
    outcome = 'conflict'
    redis.call('LPUSH', conflicts, result)
    redis.call('LTRIM', conflicts, 0, kept - 1)
    redis.call('EXPIRE', conflicts, ttl)
  end
  local entry = 'result:' .. image_id .. ':' .. identity
  -- A duplicate mends an exam that lost its entry, as a server that evicts keys may make it.
  if outcome == 'stored' or (outcome == 'duplicate' and redis.call('HEXISTS', exam, entry) == 0) then
    redis.call('HSET', exam, entry, '1', 'picture:' .. image_id, picture)
    redis.call('HDEL', exam, 'note:' .. image_id, 'unreadable:' .. image_id)
    touch(exam, programme, day, captured, ttl)
  end
  count(counts, outcome, 1)
  return {outcome, ask == '1' and standing(exam) or ''}
end

-- KEYS exam, count
-- ARGV image_id, note, picture, programme, day, captured, ttl, ask (1 or 0)
-- -> outcome (noted, known), and how the exam stands if asked
local function note(keys, args)
  local exam, counts = unpack(keys)
  local image_id, text, picture, programme, day, captured, ttl, ask = unpack(args)
  local outcome = 'known'
  if redis.call('HEXISTS', exam, 'picture:' .. image_id) == 0
    and redis.call('HEXISTS', exam, 'note:' .. image_id) == 0 then
    outcome = 'noted'
    redis.call('HSET', exam, 'note:' .. image_id, picture, 'unreadable:' .. image_id, text)
    touch(exam, programme, day, captured, ttl)
    count(counts, 'unreadable', 1)
  end
  return {outcome, ask == '1' and standing(exam) or ''}
end

local function unlist(worklist, expiry, exam_ids)
  if #exam_ids > 0 then
    redis.call('ZREM', worklist, unpack(exam_ids))
    redis.call('ZREM', expiry, unpack(exam_ids))
  end
end

-- Those that went with their time. The caller's clock may be wrong, and the exam is asked itself: while it is there, it
-- waits. `prefix` is what the names of the shard's exams begin with.
local function unlist_gone(worklist, expiry, prefix, now, ttl)
  local gone = {}
  for _, exam_id in ipairs(redis.call('ZRANGE', expiry, '-inf', now, 'BYSCORE', 'LIMIT', 0, 64)) do
    if redis.call('HEXISTS', prefix .. exam_id, 'version') == 0 then
      gone[#gone + 1] = exam_id
    else
      redis.call('ZADD', expiry, now + ttl, exam_id)
    end
  end
  unlist(worklist, expiry, gone)
end

-- KEYS exam, worklist, expiry, results, count
-- ARGV exam_id, version, decision, programme, outcome, urgency, rank, listed (1 or 0), now, ttl, events kept
-- -> outcome (decided, known, stale), and how the exam stands if stale
local function decide(keys, args)
  local exam, worklist, expiry, results, counts = unpack(keys)
  local exam_id, version, decision, programme, outcome, urgency, rank, listed, now, ttl, events = unpack(args)
  local current, decided, before, since, read = unpack(redis.call('HMGET', exam, 'version', 'decided', 'outcome',
    'since', 'reading:pictures'))
  if current ~= version then
    return {'stale', standing(exam)}
  end
  if decided == version then
    return {'known', ''}
  end
  redis.call('HSET', exam, 'decision', decision, 'outcome', outcome, 'decided', version)
  redis.call('EXPIRE', exam, ttl) -- of the exam's programme; its last picture may have come under another
  if before ~= outcome then
    if before then
      count(counts, before, -1)
    end
    count(counts, outcome, 1)
  end
  unlist_gone(worklist, expiry, string.sub(exam, 1, #exam - #exam_id), now, ttl)
  -- A reader may have been quicker than this decision, and has seen all its pictures.
  if listed == '1' and read ~= version then
    -- Not tostring(): it keeps 14 digits, and the score needs 16.
    local waiting_since = math.max(0, math.min(tonumber(since), SPAN - 1))
    redis.call('ZADD', worklist, string.format('%.3f', waiting_since - SPAN * (rank + 1)), exam_id)
    redis.call('ZADD', expiry, now + ttl, exam_id)
    redis.call('EXPIRE', worklist, ttl)
    redis.call('EXPIRE', expiry, ttl)
  else
    unlist(worklist, expiry, {exam_id})
  end
  redis.call('XADD', results, 'MAXLEN', '~', events, '*', 'exam', exam_id, 'programme', programme, 'outcome', outcome,
    'urgency', urgency, 'rank', rank, 'version', version, 'at', now)
  redis.call('EXPIRE', results, ttl)
  return {'decided', ''}
end

redis.register_function('es_store_@', store)
redis.register_function('es_note_@', note)
redis.register_function('es_decide_@', decide)
