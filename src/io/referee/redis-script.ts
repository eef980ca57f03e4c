/**
 * The two rules of core/generation/referee-record.ts as Redis runs them: one script is one atomic step. A
 * test compares the two, answer by answer.
 */

/**
 * KEYS[1] the record, a hash. ARGV: node, place of the node ('low' or 'high'), generation, then for a
 * question since, for a report revision. Both return the verdict and, if there is one, the record.
 */
const begin = `
local f = redis.call('HMGET', KEYS[1], 'winner', 'generation', 'online_low', 'online_high', 'revision')
local known = f[5]
local r = {}
for i = 1, 5 do r[i] = tonumber(f[i] or '0') end
local node, place, asked, last = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local function text(n) return string.format('%.0f', n) end
local function write()
  r[5] = r[5] + 1
  redis.call('HSET', KEYS[1], 'winner', text(r[1]), 'generation', text(r[2]), 'online_low', text(r[3]),
    'online_high', text(r[4]), 'revision', text(r[5]), 'cleared_up_to', text(math.min(r[3], r[4])))
end
local function answer(verdict)
  return {verdict, text(r[1]), text(r[2]), text(r[3]), text(r[4]), text(r[5])}
end
`;

export const grantScript = `${begin}
if not known then return {'no-record'} end
local cleared = math.min(r[3], r[4])
if asked <= cleared then return answer('cleared') end
if r[2] > cleared then
  if r[1] ~= node then return answer('other-winner') end
elseif last == 0 then
  return answer('incomplete')
elseif last > cleared then
  return answer('unconfirmed')
end
r[1] = node
r[2] = math.max(r[2], asked)
write()
return answer('granted')
`;

export const reportScript = `${begin}
local changed = not known
local index = place == 'low' and 3 or 4
if r[1] == node and r[2] > asked and r[5] == last then
  r[2] = asked
  changed = true
end
if asked > r[index] then
  r[index] = asked
  changed = true
end
if changed then write() end
return answer('reported')
`;
