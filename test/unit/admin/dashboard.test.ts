/** config/grafana-dashboard.json against the definitions of the metrics. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { metricDefinitions, type MetricDefinition } from '../../../src/telemetry/metric-definitions.ts';

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly targets?: readonly { readonly expr: string }[];
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
}

const text = readFileSync(new URL('../../../config/grafana-dashboard.json', import.meta.url), 'utf8');
const panels = (JSON.parse(text) as { panels: Panel[] }).panels;
const shown = panels.filter(({ type }) => type !== 'row');
const definitions = new Map<string, MetricDefinition>(Object.entries(metricDefinitions));

function definitionOf(name: string): MetricDefinition | undefined {
  return definitions.get(name) ?? definitions.get(name.replace(/_(?:bucket|sum|count)$/, ''));
}

describe('the dashboard', () => {
  test('names only metrics that there are, and labels that they have', () => {
    const expressions = [...text.matchAll(/"(?:expr|definition|query)": "((?:[^"\\]|\\.)*)"/g)].map(
      ([, expression]) => expression!.replaceAll('\\"', '"'),
    );
    expect(expressions.length).toBeGreaterThan(30);
    for (const expression of expressions) {
      for (const [, name, selector = ''] of expression.matchAll(/\b(mtm_\w+)(\{[^}]*\})?/g)) {
        const definition = definitionOf(name!);
        expect(definition, `${name} in ${expression}`).toBeDefined();
        for (const [, label] of selector.matchAll(/(\w+)(?:=|!=|=~)"/g))
          expect(definition!.labels, `${label} of ${name}`).toContain(label);
      }
    }
  });

  test('every panel says what it shows and in which unit', () => {
    expect(shown.length).toBeGreaterThan(20);
    for (const { title, description = '', fieldConfig, targets = [] } of shown) {
      expect(description.length, title).toBeGreaterThan(10);
      expect(fieldConfig?.defaults.unit, title).toBeTruthy();
      expect(targets.length, title).toBeGreaterThan(0);
    }
  });

  test('no panel lies on another', () => {
    for (const [at, { gridPos: a, title }] of panels.entries())
      for (const { gridPos: b, title: other } of panels.slice(at + 1)) {
        const apart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;
        expect(apart, `${title} and ${other}`).toBe(true);
      }
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  });
});
