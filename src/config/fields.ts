/**
 * The kinds of value that a setting can have, each a zod type that reads what people write in a file, in the
 * environment or after a flag ("2s", "10MB", "on").
 * Rule: a kind accepts text as well as the native value, because environment and flags only have text.
 */
import { z } from 'zod';

/** What a setting of this kind is, for documents and for SHOW. */
export type FieldKind = 'duration' | 'size' | 'boolean' | 'integer' | 'text' | 'list' | 'choice';

/** In milliseconds. */
export const durationUnits: Readonly<Record<string, number>> = {
  us: 0.001,
  ms: 1,
  s: 1000,
  min: 60_000,
  h: 3_600_000,
};
const sizeUnits: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1024,
  KB: 1024,
  MB: 1024 ** 2,
  GB: 1024 ** 3,
  TB: 1024 ** 4,
};

/** RELOAD applies it to a gateway that runs. What is not marked so needs a restart. */
export function live<T extends z.ZodType>(field: T): T {
  return field.meta({ ...field.meta(), reload: 'live' });
}

/** A number with a unit of `units`, or undefined. `plainUnit` is the factor of a number without a unit. */
export function quantity(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*$/.exec(text);
  if (match === null) return undefined;
  const factor = match[2] === '' ? 1 : units[match[2] ?? ''];
  return factor === undefined ? undefined : Math.round(Number(match[1]) * factor);
}

/** Milliseconds; a plain number is milliseconds, as in the manual of multimaster. */
export function duration(usual: string, description: string, maximumMs = 86_400_000) {
  const message = 'must be a time such as 200ms, 2s or 5min (a plain number is milliseconds)';
  return z
    .union([z.number(), z.string()], { error: message })
    .transform((value, context) => {
      const ms = typeof value === 'number' ? value : quantity(value, durationUnits);
      if (ms !== undefined && Number.isInteger(ms) && ms >= 0 && ms <= maximumMs) return ms;
      context.addIssue({ code: 'custom', message });
      return z.NEVER;
    })
    .prefault(usual)
    .meta({ description, kind: 'duration' });
}

/** Bytes; a plain number is bytes. */
export function size(usual: string, description: string) {
  const message = 'must be a size such as 10MB or 2GB (a plain number is bytes)';
  return z
    .union([z.number(), z.string()], { error: message })
    .transform((value, context) => {
      const bytes = typeof value === 'number' ? value : quantity(value, sizeUnits);
      if (bytes !== undefined && Number.isSafeInteger(bytes) && bytes >= 0) return bytes;
      context.addIssue({ code: 'custom', message });
      return z.NEVER;
    })
    .prefault(usual)
    .meta({ description, kind: 'size' });
}

const truths: Readonly<Record<string, boolean>> = {
  on: true,
  true: true,
  yes: true,
  '1': true,
  off: false,
  false: false,
  no: false,
  '0': false,
};

/** on or off, in all of PostgreSQL's spellings. */
export function onOff(usual: boolean, description: string) {
  const message = 'must be on or off';
  return z
    .union([z.boolean(), z.enum(['on', 'off', 'true', 'false', 'yes', 'no', '1', '0'])], { error: message })
    .transform((value) => (typeof value === 'boolean' ? value : truths[value] === true))
    .prefault(usual ? 'on' : 'off')
    .meta({ description, kind: 'boolean' });
}

function integerType(minimum: number, maximum: number) {
  const message = `must be a whole number from ${minimum} to ${maximum}`;
  return z.union([z.number(), z.string()], { error: message }).transform((value, context) => {
    const number =
      typeof value === 'number' ? value : /^[0-9]+$/.test(value.trim()) ? Number(value) : Number.NaN;
    if (Number.isInteger(number) && number >= minimum && number <= maximum) return number;
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  });
}

export function integer(usual: number, minimum: number, maximum: number, description: string) {
  return integerType(minimum, maximum).prefault(usual).meta({ description, kind: 'integer' });
}

/** A whole number that has no usual value. */
export function requiredInteger(minimum: number, maximum: number, description: string) {
  return integerType(minimum, maximum).meta({ description, kind: 'integer' });
}

export function port(usual: number, description: string) {
  return integer(usual, 1, 65535, description);
}

const textMessage = 'must be a text';

/** YAML reads an unquoted 12345 as a number: a password may well look like that. */
const textType = () => z.union([z.string(), z.number().transform(String)], { error: textMessage });

export function text(usual: string, description: string) {
  return textType().prefault(usual).meta({ description, kind: 'text' });
}

export function requiredText(description: string) {
  return textType().pipe(z.string().min(1, 'must not be empty')).meta({ description, kind: 'text' });
}

/** A text that may be absent altogether. */
export function optionalText(description: string) {
  return textType().optional().meta({ description, kind: 'text' });
}

/** One of a few words. `false` counts as the word off: that is how people write it without quotes. */
export function choice<const T extends string>(values: readonly T[], usual: T, description: string) {
  return z
    .preprocess(
      (value) => (value === false ? 'off' : value),
      z.enum(values, { error: `must be one of ${values.join(', ')}` }),
    )
    .prefault(usual)
    .meta({ description, kind: 'choice' });
}

/** Texts: a YAML list, or one text with commas. */
export function textList(description: string) {
  return z
    .union([z.array(z.string()), z.string()], { error: 'must be a list of names' })
    .transform((value) => {
      const items = typeof value === 'string' ? value.split(',') : value;
      return items.map((item) => item.trim()).filter((item) => item !== '');
    })
    .prefault([])
    .meta({ description, kind: 'list' });
}
